// Requester, reviewer and executor in TypeScript: TLS, tokens, deadlines, errors with their details, a resumed watch.
// `run` generates the types; docs/how-to/clients.md explains the environment.
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { Code, ConnectError, createClient, type CallOptions, type Client } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { BadRequestSchema, ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { PlannerService } from "./gen/plangate/planner/v1/planner_service_pb.js";
import { ProposalState } from "./gen/plangate/store/v1/proposal_pb.js";
import { EventService, ProposalService } from "./gen/plangate/store/v1/store_service_pb.js";

const { PLANGATE_CREDENTIALS, PLANGATE_PLANNER_TARGET, PLANGATE_STORE_TARGET, PLANGATE_TLS_CA_FILE } = process.env;

function transport(target?: string) {
  return createGrpcTransport({ baseUrl: `https://${target}`, nodeOptions: { ca: readFileSync(PLANGATE_TLS_CA_FILE!) } });
}

// Options of a call in a role's name, which may take 20 seconds.
function as(role: string): CallOptions {
  const token = readFileSync(`${PLANGATE_CREDENTIALS}/${role}.token`, "utf8").trim();
  return { headers: { authorization: `Bearer ${token}` }, timeoutMs: 20_000 };
}

// The failure of a call that must fail. findDetails reads ErrorInfo, BadRequest and RetryInfo from it.
async function failure(call: Promise<unknown>, code: Code): Promise<ConnectError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof ConnectError && error.code === code) return error;
    throw error;
  }
  throw new Error("the call did not fail");
}

// Prints events from the revision on until the wanted one comes; returns the revision to resume from.
async function watch(events: Client<typeof EventService>, startRevision: bigint, wanted: string): Promise<bigint> {
  for await (const { update } of events.watchEvents({ startRevision }, as("reviewer"))) {
    if (update.case !== "event") continue;
    console.log(`event ${update.value.kind}`);
    if (update.value.kind === wanted) return update.value.revision + 1n;
  }
  throw new Error("the watch ended");
}

const planner = createClient(PlannerService, transport(PLANGATE_PLANNER_TARGET));
const store = transport(PLANGATE_STORE_TARGET);
const proposals = createClient(ProposalService, store);
const events = createClient(EventService, store);

const jobs = [{ actionName: "delete_file", actionArgs: { path: "tmp/typescript.txt" } }];
// The request_id makes a repeated call return the first answer.
const plan = await planner.submitPlan({ objective: "Tidy up", jobs, requestId: randomUUID() }, as("requester"));
console.log(`planned ${plan.id}`);
const refused = await failure(planner.submitPlan({ objective: "Nothing" }, as("requester")), Code.InvalidArgument);
const [info] = refused.findDetails(ErrorInfoSchema);
console.log(`refused ${info.reason} ${refused.findDetails(BadRequestSchema)[0].fieldViolations[0].field}`);

const resume = await watch(events, 1n, "proposal.created");
const { id, version, argsDigest } = await proposals.getProposal({ id: plan.jobs[0].proposalId }, as("reviewer"));
const stale = await failure(proposals.approveProposal({ id, expectedVersion: 7n }, as("reviewer")), Code.Aborted);
const [conflict] = stale.findDetails(ErrorInfoSchema);
console.log(`conflict ${conflict.reason} current ${conflict.metadata.current_version}`);
const yes = { id, expectedVersion: version, argsDigest, requestId: randomUUID() };
console.log(`approved ${(await proposals.approveProposal(yes, as("reviewer"))).state}`);

const claim = { planId: plan.id, waitDuration: { seconds: 5n } };
const [claimed] = (await proposals.claimProposals(claim, as("executor"))).proposals;
const report = { id, attempt: claimed.lease!.attempt, requestId: randomUUID() };
console.log(`executed ${ProposalState[(await proposals.completeProposal(report, as("executor"))).state]}`);
await watch(events, resume, "proposal.executed");
process.exit(0);
