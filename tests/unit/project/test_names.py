"""The names that people look for who come from the project's first design: they stay where they are."""

from __future__ import annotations

import inspect

from sqlalchemy.ext.asyncio import AsyncAttrs

from planner_service.generation.instructor_client import InstructorClient
from planner_service.planning.kernel import Kernel
from store_service.database.models import ProposalModel
from store_service.database.orm import AsyncOntologyObject
from store_service.database.proposal_repository import ProposalRepository


def test_models_are_asynchronous_and_under_optimistic_locking() -> None:
    assert issubclass(AsyncOntologyObject, AsyncAttrs)
    assert issubclass(ProposalModel, AsyncOntologyObject)
    assert ProposalModel.__mapper__.version_id_col is ProposalModel.__table__.c.version


def test_what_works_is_a_coroutine() -> None:
    for method in (ProposalRepository.save, InstructorClient.generate_plan, Kernel.run):
        assert inspect.iscoroutinefunction(method)
