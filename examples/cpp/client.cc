// Requester, reviewer and executor in C++: TLS, tokens, deadlines, errors with their details, a resumed watch.
// `run` generates the stubs; docs/how-to/clients.md explains the environment.
#include <fstream>
#include <iostream>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/grpcpp.h>
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "plangate/planner/v1/planner_service.grpc.pb.h"
#include "plangate/store/v1/store_service.grpc.pb.h"

using plangate::planner::v1::PlannerService;
using namespace plangate::store::v1;

std::string read(const std::string& file) {
  std::ifstream opened(file);
  return {std::istreambuf_iterator<char>(opened), {}};
}

// A call in a role's name that may take 20 seconds.
void begin(grpc::ClientContext& context, const std::string& role) {
  auto token = read(getenv("PLANGATE_CREDENTIALS") + ("/" + role + ".token"));
  context.AddMetadata("authorization", "Bearer " + token.substr(0, token.find('\n')));
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
}

// Calls a method with a request in JSON; a failure goes to `failed`, or ends the program where none is expected.
template <class Stub, class Request, class Reply>
Reply call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
           const std::string& role, const std::string& json, grpc::Status* failed = nullptr) {
  grpc::ClientContext context;
  begin(context, role);
  Request request;
  Reply reply;
  if (!google::protobuf::util::JsonStringToMessage(json, &request).ok()) std::abort();
  auto status = (stub.*method)(&context, request, &reply);
  if (failed) *failed = status;
  if (status.ok() || failed) return reply;
  std::cerr << status.error_code() << " " << status.error_message() << std::endl;
  exit(1);
}

// A detail of a failed call: ErrorInfo always, BadRequest and RetryInfo where they fit.
template <class Detail> Detail detail(const grpc::Status& failed) {
  google::rpc::Status status;
  Detail found;
  status.ParseFromString(failed.error_details());
  for (const auto& any : status.details()) any.UnpackTo(&found);
  return found;
}

// Prints events from the revision on until the wanted one comes; returns the revision to resume from.
int64_t watch(EventService::Stub& events, int64_t revision, const std::string& wanted) {
  WatchEventsRequest request;
  request.set_start_revision(revision);
  grpc::ClientContext context;
  begin(context, "reviewer");
  auto reader = events.WatchEvents(&context, request);
  for (WatchEventsResponse update; reader->Read(&update);) {
    if (!update.has_event()) continue;
    std::cout << "event " << update.event().kind() << std::endl;
    revision = update.event().revision() + 1;
    if (update.event().kind() == wanted) break;
  }
  context.TryCancel();
  return revision;
}

int main() {
  auto tls = grpc::SslCredentials({read(getenv("PLANGATE_TLS_CA_FILE")), "", ""});
  auto channel = grpc::CreateChannel(getenv("PLANGATE_STORE_TARGET"), tls);
  PlannerService::Stub plans(grpc::CreateChannel(getenv("PLANGATE_PLANNER_TARGET"), tls));
  ProposalService::Stub proposals(channel);
  EventService::Stub events(channel);
  grpc::Status failed;
  // With a "request_id" (a UUID) a repeated call returns the first answer.
  auto plan = call(plans, &PlannerService::Stub::SubmitPlan, "requester", R"({"objective": "Tidy up", "jobs": [
    {"action_name": "delete_file", "action_args": {"path": "tmp/cpp.txt"}}]})");
  std::cout << "planned " << plan.id() << std::endl;
  call(plans, &PlannerService::Stub::SubmitPlan, "requester", R"({"objective": "Nothing"})", &failed);
  std::cout << "refused " << detail<google::rpc::ErrorInfo>(failed).reason() << " "
            << detail<google::rpc::BadRequest>(failed).field_violations(0).field() << std::endl;
  auto resume = watch(events, 1, "proposal.created");
  auto id = "\"id\": \"" + plan.jobs(0).proposal_id() + "\"";
  auto seen = call(proposals, &ProposalService::Stub::GetProposal, "reviewer", "{" + id + "}");
  auto yes = "{" + id + ", \"args_digest\": \"" + seen.args_digest() + "\", \"expected_version\": ";
  call(proposals, &ProposalService::Stub::ApproveProposal, "reviewer", yes + "7}", &failed);
  auto info = detail<google::rpc::ErrorInfo>(failed);
  std::cout << "conflict " << info.reason() << " current " << info.metadata().at("current_version") << std::endl;
  auto version = std::to_string(seen.version());
  auto approved = call(proposals, &ProposalService::Stub::ApproveProposal, "reviewer", yes + version + "}");
  std::cout << "approved " << ProposalState_Name(approved.state()) << std::endl;
  auto wanted = "{\"wait_duration\": \"5s\", \"plan_id\": \"" + plan.id() + "\"}";
  auto claimed = call(proposals, &ProposalService::Stub::ClaimProposals, "executor", wanted).proposals(0);
  auto report = "{" + id + ", \"attempt\": " + std::to_string(claimed.lease().attempt()) + "}";
  auto done = call(proposals, &ProposalService::Stub::CompleteProposal, "executor", report);
  std::cout << "executed " << ProposalState_Name(done.state()) << std::endl;
  watch(events, resume, "proposal.executed");
}
