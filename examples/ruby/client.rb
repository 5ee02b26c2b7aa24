# Requester, reviewer and executor in Ruby: TLS, tokens, deadlines, errors with their details, a resumed watch.
# `run` generates the stubs; docs/how-to/clients.md explains the environment.
require "securerandom"
require "plangate/planner/v1/planner_service_services_pb"
require "plangate/store/v1/store_service_services_pb"
require "google/protobuf/well_known_types"
require "google/rpc/error_details_pb"
require "google/rpc/status_pb"

include Plangate::Store::V1
Errors = [Google::Rpc::ErrorInfo, Google::Rpc::BadRequest, Google::Rpc::RetryInfo]
TLS = GRPC::Core::ChannelCredentials.new(File.read(ENV.fetch("PLANGATE_TLS_CA_FILE")))
STORE, PLANNER = ENV.fetch("PLANGATE_STORE_TARGET"), ENV.fetch("PLANGATE_PLANNER_TARGET")

# Options of a call in a role's name, which may take so many seconds.
def as(role, seconds = 20)
  token = File.read("#{ENV.fetch("PLANGATE_CREDENTIALS")}/#{role}.token").strip
  { metadata: { "authorization" => "Bearer #{token}" }, deadline: Time.now + seconds }
end

# The details of a failed call, by message class: they travel in the trailing metadata.
def details(error)
  packed = error.metadata["grpc-status-details-bin"] or return {}
  Google::Rpc::Status.decode(packed).details.each_with_object({}) do |any, found|
    kind = Errors.find { |known| any.is(known) }
    found[kind] = any.unpack(kind) if kind
  end
end

# Events from `revision` on until `wanted` comes. Returns the revision to resume from.
def watch(events, revision, wanted)
  request = WatchEventsRequest.new(start_revision: revision)
  events.watch_events(request, **as("reviewer")).each do |update|
    next unless update.update == :event
    puts "event #{update.event.kind}"
    return update.event.revision + 1 if update.event.kind == wanted
  end
end

planner = Plangate::Planner::V1::PlannerService::Stub.new(PLANNER, TLS)
proposals = ProposalService::Stub.new(STORE, TLS)
events = EventService::Stub.new(STORE, TLS)

args = Google::Protobuf::Struct.new(fields: { "path" => Google::Protobuf::Value.new(string_value: "tmp/ruby.txt") })
job = Plangate::Plan::V1::Job.new(action_name: "delete_file", action_args: args)
request = Plangate::Planner::V1::SubmitPlanRequest.new(objective: "Tidy up", jobs: [job], request_id: SecureRandom.uuid)
plan = planner.submit_plan(request, **as("requester"))
puts "planned #{plan.id}"

begin
  planner.submit_plan(Plangate::Planner::V1::SubmitPlanRequest.new(objective: "Nothing"), **as("requester"))
rescue GRPC::InvalidArgument => error
  found = details(error)
  violation = found[Google::Rpc::BadRequest].field_violations.first
  puts "refused #{found[Google::Rpc::ErrorInfo].reason} #{violation.field}"
end

resume = watch(events, 1, "proposal.created")
seen = proposals.get_proposal(GetProposalRequest.new(id: plan.jobs.first.proposal_id), **as("reviewer"))
begin
  proposals.approve_proposal(ApproveProposalRequest.new(id: seen.id, expected_version: 7), **as("reviewer"))
rescue GRPC::Aborted => error
  info = details(error)[Google::Rpc::ErrorInfo]
  puts "conflict #{info.reason} current #{info.metadata["current_version"]}"
end
approval = ApproveProposalRequest.new(
  id: seen.id, expected_version: seen.version, args_digest: seen.args_digest, request_id: SecureRandom.uuid
)
puts "approved #{proposals.approve_proposal(approval, **as("reviewer")).state}"

claim = ClaimProposalsRequest.new(plan_id: plan.id, wait_duration: Google::Protobuf::Duration.new(seconds: 5))
claimed = proposals.claim_proposals(claim, **as("executor")).proposals.first
report = CompleteProposalRequest.new(id: claimed.id, attempt: claimed.lease.attempt, request_id: SecureRandom.uuid)
puts "executed #{proposals.complete_proposal(report, **as("executor")).state}"
watch(events, resume, "proposal.executed")
