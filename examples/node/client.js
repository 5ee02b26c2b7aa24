// A client of Plangate in Node, from the .proto files alone: creates a plan, approves what needs approval, reads it.
//
//     examples/node/run [--planner HOST:PORT] [--store HOST:PORT] [--as NAME] [--reviewer NAME] [request]
//
// Addresses default to PLANGATE_PLANNER_TARGET and PLANGATE_STORE_TARGET, then to the servers' own defaults.
"use strict";

const path = require("node:path");
const { randomUUID } = require("node:crypto");
const { parseArgs, promisify } = require("node:util");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    planner: { type: "string", default: process.env.PLANGATE_PLANNER_TARGET || "127.0.0.1:50052" },
    store: { type: "string", default: process.env.PLANGATE_STORE_TARGET || "127.0.0.1:50051" },
    as: { type: "string", default: "nadia" },
    reviewer: { type: "string", default: "rob" },
    seconds: { type: "string", default: "300" },
  },
});
const request = positionals.join(" ") || "Measure the disk use of logs and delete tmp/session.txt";

// 64-bit integers stay text: a double cannot hold them all.
const definitions = protoLoader.loadSync(
  ["plangate/planner/v1/planner_service.proto", "plangate/store/v1/store_service.proto"],
  {
    includeDirs: [path.resolve(__dirname, "../../protos")],
    ...{ keepCase: true, longs: String, enums: String, defaults: true, oneofs: true },
  },
);
const { plangate } = grpc.loadPackageDefinition(definitions);

// Calls a method in somebody's name. On servers with authentication it would be {authorization: "Bearer ..."}.
function call(client, method, message, actor) {
  const metadata = new grpc.Metadata();
  metadata.set("x-plangate-actor", actor);
  const deadline = new Date(Date.now() + Number(options.seconds) * 1000);
  return promisify(client[method].bind(client))(message, metadata, { deadline });
}

// google.protobuf.Struct as proto-loader shows it -> plain values.
function plain(value) {
  if (value === null || value === undefined) return null;
  if (value.fields) return Object.fromEntries(Object.entries(value.fields).map(([key, member]) => [key, plain(member)]));
  if (value.kind === "structValue") return plain(value.structValue);
  if (value.kind === "listValue") return value.listValue.values.map(plain);
  return value.kind === "nullValue" ? null : value[value.kind];
}

async function main() {
  const credentials = grpc.credentials.createInsecure();
  const planner = new plangate.planner.v1.PlannerService(options.planner, credentials);
  const plans = new plangate.store.v1.PlanService(options.store, credentials);
  const proposals = new plangate.store.v1.ProposalService(options.store, credentials);
  try {
    // The id makes a repeated call return the first answer instead of planning twice.
    const plan = await call(planner, "CreatePlan", { prompt: request, request_id: randomUUID() }, options.as);
    console.log(`plan ${plan.id}: ${plan.objective}`);
    if (plan.jobs.length === 0) console.log(`no action fits: ${plan.no_action_reason}`);
    for (const job of plan.jobs) {
      const { effect, rule } = job.decision;
      console.log(`  ${job.action_name} ${JSON.stringify(plain(job.action_args))} ${effect} by ${rule}`);
      if (effect === "EFFECT_REQUIRE_APPROVAL") await approve(proposals, job.proposal_id);
    }
    const stored = await call(plans, "GetPlan", { id: plan.id }, options.as);
    const page = await call(proposals, "ListProposals", { filter: `plan_id = "${plan.id}"` }, options.as);
    const states = Object.fromEntries(page.proposals.map((proposal) => [proposal.action_name, proposal.state]));
    console.log(JSON.stringify({ plan: stored.id, state: stored.state, proposals: states }));
  } finally {
    for (const client of [planner, plans, proposals]) client.close();
  }
}

async function approve(proposals, id) {
  const seen = await call(proposals, "GetProposal", { id }, options.reviewer);
  const agreed = { args_digest: seen.args_digest, comment: "from Node", request_id: randomUUID() };
  const yes = { id, expected_version: seen.version, ...agreed };
  try {
    await call(proposals, "ApproveProposal", yes, options.as);
    throw new Error("the requester could approve the own request");
  } catch (error) {
    if (error.code !== grpc.status.FAILED_PRECONDITION) throw error;
    console.log(`  ${options.as} may not approve it: ${error.details}`);
  }
  const approved = await call(proposals, "ApproveProposal", { ...yes, request_id: randomUUID() }, options.reviewer);
  console.log(`  ${options.reviewer} approved version ${seen.version}: ${approved.state}, version ${approved.version}`);
}

main().catch((error) => {
  const name = grpc.status[error.code];
  console.error(name ? `${name}: ${error.details}` : error.message);
  process.exitCode = 1;
});
