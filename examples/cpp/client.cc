// Requester, reviewer and executor in C++: TLS, tokens, deadlines, errors with their details, a resumed watch.
// `run` generates the stubs; docs/how-to/clients.md explains the environment.
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>

#include <grpcpp/grpcpp.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "plangate/planner/v1/planner_service.grpc.pb.h"
#include "plangate/store/v1/store_service.grpc.pb.h"

namespace planner = plangate::planner::v1;
namespace store = plangate::store::v1;

std::string read(const std::string& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

// A call in a role's name that may take 20 seconds.
std::unique_ptr<grpc::ClientContext> as(const std::string& role) {
  auto context = std::make_unique<grpc::ClientContext>();
  auto token = read(std::string(getenv("PLANGATE_CREDENTIALS")) + "/" + role + ".token");
  token.erase(token.find_last_not_of("\n") + 1);
  context->AddMetadata("authorization", "Bearer " + token);
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  return context;
}

// A detail of a failed call: ErrorInfo always, BadRequest and RetryInfo where they fit.
template <class Detail> Detail detail(const grpc::Status& failed) {
  google::rpc::Status status;
  Detail found;
  status.ParseFromString(failed.error_details());
  for (const auto& any : status.details())
    if (any.UnpackTo(&found)) return found;
  return found;
}

void must(const grpc::Status& status) {
  if (status.ok()) return;
  std::cerr << status.error_code() << " " << status.error_message() << std::endl;
  exit(1);
}

// Print events from the revision on until the wanted one comes; returns the revision to resume from.
int64_t watch(store::EventService::Stub& events, int64_t revision, const std::string& wanted) {
  store::WatchEventsRequest request;
  request.set_start_revision(revision);
  auto context = as("reviewer");
  auto reader = events.WatchEvents(context.get(), request);
  for (store::WatchEventsResponse update; reader->Read(&update);) {
    if (!update.has_event()) continue;
    std::cout << "event " << update.event().kind() << std::endl;
    if (update.event().kind() == wanted) {
      context->TryCancel();
      return update.event().revision() + 1;
    }
  }
  must(reader->Finish());
  return revision;
}

int main() {
  auto tls = grpc::SslCredentials({read(getenv("PLANGATE_TLS_CA_FILE")), "", ""});
  auto channel = grpc::CreateChannel(getenv("PLANGATE_STORE_TARGET"), tls);
  planner::PlannerService::Stub plans(grpc::CreateChannel(getenv("PLANGATE_PLANNER_TARGET"), tls));
  store::ProposalService::Stub proposals(channel);
  store::EventService::Stub events(channel);

  planner::SubmitPlanRequest asked, empty;
  asked.set_objective("Tidy up");
  auto* job = asked.add_jobs();  // With a request_id (a UUID) a repeated call returns the first answer.
  job->set_action_name("delete_file");
  (*job->mutable_action_args()->mutable_fields())["path"].set_string_value("tmp/cpp.txt");
  plangate::plan::v1::Plan plan;
  must(plans.SubmitPlan(as("requester").get(), asked, &plan));
  std::cout << "planned " << plan.id() << std::endl;
  empty.set_objective("Nothing");
  plangate::plan::v1::Plan none;
  auto refused = plans.SubmitPlan(as("requester").get(), empty, &none);
  std::cout << "refused " << detail<google::rpc::ErrorInfo>(refused).reason() << " "
            << detail<google::rpc::BadRequest>(refused).field_violations(0).field() << std::endl;

  auto resume = watch(events, 1, "proposal.created");
  store::GetProposalRequest get;
  get.set_id(plan.jobs(0).proposal_id());
  store::Proposal seen, approved, done;
  must(proposals.GetProposal(as("reviewer").get(), get, &seen));
  store::ApproveProposalRequest yes;
  yes.set_id(seen.id());
  yes.set_args_digest(seen.args_digest());
  yes.set_expected_version(7);
  auto info = detail<google::rpc::ErrorInfo>(proposals.ApproveProposal(as("reviewer").get(), yes, &approved));
  std::cout << "conflict " << info.reason() << " current " << info.metadata().at("current_version") << std::endl;
  yes.set_expected_version(seen.version());
  must(proposals.ApproveProposal(as("reviewer").get(), yes, &approved));
  std::cout << "approved " << store::ProposalState_Name(approved.state()) << std::endl;

  store::ClaimProposalsRequest claim;
  claim.set_plan_id(plan.id());
  claim.mutable_wait_duration()->set_seconds(5);
  store::ClaimProposalsResponse claimed;
  must(proposals.ClaimProposals(as("executor").get(), claim, &claimed));
  store::CompleteProposalRequest report;
  report.set_id(claimed.proposals(0).id());
  report.set_attempt(claimed.proposals(0).lease().attempt());
  must(proposals.CompleteProposal(as("executor").get(), report, &done));
  std::cout << "executed " << store::ProposalState_Name(done.state()) << std::endl;
  watch(events, resume, "proposal.executed");
}
