// Closed-loop load for the store and its peers: N clients, each sends its next call when the last one was answered.
// Compiled, so that it takes a small part of the machine the server is measured on. Prints one JSON object.
//
//   load SCENARIO TARGET CLIENTS SECONDS [PAYLOAD_BYTES] [PREPARED]
//
// SCENARIO: echo | create | batch-create | approve | cycle | hot | get | list | etcd-approve | etcd-hot
//   batch-create 50 proposals per call, counted one by one; latencies are those of calls
//   approve      PREPARED pending proposals are created first, each is approved once; ends early when all are
//   cycle        create, approve, claim, complete; one "operation" is the whole cycle
//   hot          every client updates ONE proposal under expected_version, and after a conflict under the version that the conflict names
//   etcd-*       the same with etcd's version-compare transaction
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "echo.grpc.pb.h"
#include "etcd_kv.grpc.pb.h"
#include "rpc_status.pb.h"
#include "plangate/store/v1/store_service.grpc.pb.h"

namespace store = plangate::store::v1;
using Clock = std::chrono::steady_clock;
using Done = std::function<void(bool ok)>;

namespace {

constexpr size_t kProposalsPerBatch = 50;

struct Run {
  int clients = 1;
  double seconds = 5;
  size_t payload_bytes = 256;
  size_t prepared = 0;
  Clock::time_point end;
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  std::vector<std::string> ids;
  std::atomic<size_t> next_id{0};
  std::atomic<long> errors{0};
  std::atomic<long> conflicts{0};
  std::mutex error_mutex;
  std::string first_error;

  void NoteError(const grpc::Status& status) {
    errors++;
    std::lock_guard<std::mutex> lock(error_mutex);
    if (first_error.empty()) first_error = std::to_string(status.error_code()) + " " + status.error_message();
  }
};

std::string NewUuid() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  char text[37];
  const uint64_t a = random(), b = random();
  snprintf(text, sizeof text, "%08x-%04x-4%03x-%04x-%012llx", unsigned(a >> 32), unsigned(a >> 16 & 0xffff), unsigned(a & 0xfff),
           unsigned(b >> 48 & 0x3fff) | 0x8000, static_cast<unsigned long long>(b & 0xffffffffffffULL));
  return text;
}

// What a VERSION_CONFLICT says the version is by now; 0 when it does not say.
int64_t CurrentVersion(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (!details.ParseFromString(status.error_details())) return 0;
  for (const auto& detail : details.details()) {
    if (detail.UnpackTo(&info) && info.metadata().count("current_version")) return std::stoll(info.metadata().at("current_version"));
  }
  return 0;
}

// Arguments that no other proposal has: what the server might remember of them is of no use to it.
void FillProposal(const Run& run, store::Proposal* proposal) {
  static std::atomic<unsigned> number{0};
  std::string note(run.payload_bytes, 'x');
  const std::string own = std::to_string(number++);
  note.replace(0, std::min(own.size(), note.size()), own.substr(0, note.size()));
  proposal->set_action_name("restart_service");
  auto& fields = *proposal->mutable_action_args()->mutable_fields();
  fields["service"].set_string_value("checkout");
  fields["note"].set_string_value(note);
  proposal->set_description("Restart the checkout service");
}

// One client: owns its stubs and runs one operation at a time.
class Client {
 public:
  Client(Run* run, int number)
      : run_(run), number_(number), channel_(run->channels[number % run->channels.size()]),
        proposals_(store::ProposalService::NewStub(channel_)), echo_(plangate::bench::EchoService::NewStub(channel_)),
        etcd_(etcdserverpb::KV::NewStub(channel_)) {}

  std::vector<double> latencies_ms;

  void Echo(Done done) {
    auto call = Begin<plangate::bench::Payload, plangate::bench::Payload>("");
    call->request.set_body(std::string(run_->payload_bytes, 'x'));
    echo_->async()->Echo(&call->context, &call->request, &call->response, Finish(call, done));
  }

  void Create(Done done) {
    auto call = Begin<store::CreateProposalRequest, store::Proposal>("admin");
    FillProposal(*run_, call->request.mutable_proposal());
    call->request.set_submit(true);
    call->request.set_request_id(NewUuid());
    proposals_->async()->CreateProposal(&call->context, &call->request, &call->response, [=, this](grpc::Status status) {
      id_ = call->response.id();
      version_ = call->response.version();
      Settle(status, done);
    });
  }

  void BatchCreate(Done done) {
    auto call = Begin<store::BatchCreateProposalsRequest, store::BatchCreateProposalsResponse>("admin");
    for (size_t i = 0; i < kProposalsPerBatch; i++) {
      auto* one = call->request.add_requests();
      FillProposal(*run_, one->mutable_proposal());
      one->set_submit(true);
    }
    call->request.set_request_id(NewUuid());
    proposals_->async()->BatchCreateProposals(&call->context, &call->request, &call->response, Finish(call, done));
  }

  void ApproveNext(Done done) {
    const size_t index = run_->next_id++;
    if (index >= run_->ids.size()) return done(false);
    id_ = run_->ids[index];
    version_ = 1;
    Approve(done);
  }

  void Approve(Done done) {
    auto call = Begin<store::ApproveProposalRequest, store::Proposal>("bob");
    call->request.set_id(id_);
    call->request.set_expected_version(version_);
    call->request.set_request_id(NewUuid());
    proposals_->async()->ApproveProposal(&call->context, &call->request, &call->response, Finish(call, done));
  }

  void Cycle(Done done) {
    Create([=, this](bool ok) {
      if (!ok) return done(false);
      Approve([=, this](bool approved) {
        if (!approved) return done(false);
        Claim(done);
      });
    });
  }

  void Claim(Done done) {
    auto call = Begin<store::ClaimProposalsRequest, store::ClaimProposalsResponse>("worker");
    call->request.add_action_names("restart_service");
    call->request.set_max_proposals(1);
    call->request.mutable_wait_duration()->set_seconds(5);
    call->request.set_request_id(NewUuid());
    proposals_->async()->ClaimProposals(&call->context, &call->request, &call->response, [=, this](grpc::Status status) {
      if (!status.ok() || call->response.proposals_size() == 0) return Settle(status, done);
      auto complete = Begin<store::CompleteProposalRequest, store::Proposal>("worker");
      complete->request.set_id(call->response.proposals(0).id());
      complete->request.set_attempt(call->response.proposals(0).lease().attempt());
      (*complete->request.mutable_result()->mutable_fields())["exit_status"].set_number_value(0);
      proposals_->async()->CompleteProposal(&complete->context, &complete->request, &complete->response, Finish(complete, done));
    });
  }

  void Hot(Done done) {
    if (version_ == 0) {
      id_ = run_->ids[0];
      return Reread(done, [=, this] { Hot(done); });
    }
    auto call = Begin<store::UpdateProposalRequest, store::Proposal>("admin");
    call->request.mutable_proposal()->set_id(id_);
    call->request.mutable_proposal()->set_description("change by client " + std::to_string(number_));
    call->request.mutable_update_mask()->add_paths("description");
    call->request.set_expected_version(version_);
    proposals_->async()->UpdateProposal(&call->context, &call->request, &call->response, [=, this](grpc::Status status) {
      if (status.ok()) {
        version_ = call->response.version();
        return done(true);
      }
      if (status.error_code() != grpc::StatusCode::ABORTED) return Settle(status, done);
      run_->conflicts++;
      version_ = CurrentVersion(status);
      Clock::now() >= run_->end ? done(false) : Hot(done);
    });
  }

  void Get(Done done) {
    auto call = Begin<store::GetProposalRequest, store::Proposal>("bob");
    call->request.set_id(run_->ids[run_->next_id++ * 7919 % run_->ids.size()]);
    proposals_->async()->GetProposal(&call->context, &call->request, &call->response, Finish(call, done));
  }

  void List(Done done) {
    auto call = Begin<store::ListProposalsRequest, store::ListProposalsResponse>("bob");
    call->request.set_page_size(50);
    proposals_->async()->ListProposals(&call->context, &call->request, &call->response, Finish(call, done));
  }

  void EtcdApprove(Done done) {
    const size_t index = run_->next_id++;
    if (index >= run_->ids.size()) return done(false);
    EtcdTxn(run_->ids[index], 1, done, nullptr);
  }

  void EtcdHot(Done done) {
    EtcdTxn(run_->ids[0], version_, done, [=, this] { Clock::now() >= run_->end ? done(false) : EtcdHot(done); });
  }

 private:
  template <class Request, class Response>
  struct Call {
    grpc::ClientContext context;
    Request request;
    Response response;
  };

  template <class Request, class Response>
  std::shared_ptr<Call<Request, Response>> Begin(const std::string& actor) {
    auto call = std::make_shared<Call<Request, Response>>();
    if (!actor.empty()) call->context.AddMetadata("x-plangate-actor", actor);
    call->context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    return call;
  }

  template <class C>
  std::function<void(grpc::Status)> Finish(C call, Done done) {
    return [=, this](grpc::Status status) {
      (void)call;
      Settle(status, done);
    };
  }

  void Settle(const grpc::Status& status, const Done& done) {
    if (!status.ok()) run_->NoteError(status);
    done(status.ok());
  }

  void Reread(Done done, std::function<void()> then) {
    auto call = Begin<store::GetProposalRequest, store::Proposal>("admin");
    call->request.set_id(id_);
    proposals_->async()->GetProposal(&call->context, &call->request, &call->response, [=, this](grpc::Status status) {
      if (!status.ok()) return Settle(status, done);
      version_ = call->response.version();
      then();
    });
  }

  void EtcdTxn(const std::string& key, int64_t version, Done done, std::function<void()> on_conflict) {
    auto call = Begin<etcdserverpb::TxnRequest, etcdserverpb::TxnResponse>("");
    auto* compare = call->request.add_compare();
    compare->set_target(etcdserverpb::Compare::VERSION);
    compare->set_key(key);
    compare->set_version(version);
    auto* put = call->request.add_success()->mutable_request_put();
    put->set_key(key);
    put->set_value(std::string(run_->payload_bytes, 'y'));
    call->request.add_failure()->mutable_request_range()->set_key(key);
    etcd_->async()->Txn(&call->context, &call->request, &call->response, [=, this](grpc::Status status) {
      if (!status.ok()) return Settle(status, done);
      if (call->response.succeeded()) {
        version_ = version + 1;
        return done(true);
      }
      run_->conflicts++;
      const auto& range = call->response.responses(0).response_range();
      version_ = range.kvs_size() ? range.kvs(0).version() : 0;
      on_conflict ? on_conflict() : done(false);
    });
  }

  Run* run_;
  int number_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<store::ProposalService::Stub> proposals_;
  std::unique_ptr<plangate::bench::EchoService::Stub> echo_;
  std::unique_ptr<etcdserverpb::KV::Stub> etcd_;
  std::string id_;
  int64_t version_ = 0;
};

// Fills run.ids with `count` pending proposals (or etcd keys of version 1).
bool Prepare(Run& run, size_t count, bool etcd) {
  if (etcd) {
    auto stub = etcdserverpb::KV::NewStub(run.channels[0]);
    const std::string prefix = NewUuid();
    std::mutex mutex;
    std::condition_variable all_done;
    size_t begun = 0, ended = 0;
    std::function<void()> put = [&] {
      std::string key;
      {
        std::lock_guard<std::mutex> lock(mutex);
        if (begun == count) return;
        key = prefix + std::to_string(begun++);
        run.ids.push_back(key);
      }
      auto context = std::make_shared<grpc::ClientContext>();
      auto request = std::make_shared<etcdserverpb::PutRequest>();
      auto response = std::make_shared<etcdserverpb::PutResponse>();
      request->set_key(key);
      request->set_value(std::string(run.payload_bytes, 'x'));
      stub->async()->Put(context.get(), request.get(), response.get(), [&, context, request, response](grpc::Status) {
        put();
        std::lock_guard<std::mutex> lock(mutex);
        if (++ended == count) all_done.notify_one();
      });
    };
    for (int i = 0; i < 64; i++) put();
    std::unique_lock<std::mutex> lock(mutex);
    return all_done.wait_for(lock, std::chrono::seconds(120), [&] { return ended == count; });
  }
  auto stub = store::ProposalService::NewStub(run.channels[0]);
  while (run.ids.size() < count) {
    grpc::ClientContext context;
    context.AddMetadata("x-plangate-actor", "admin");
    store::BatchCreateProposalsRequest request;
    store::BatchCreateProposalsResponse response;
    for (size_t i = run.ids.size(); i < std::min(run.ids.size() + 100, count); i++) {
      auto* one = request.add_requests();
      FillProposal(run, one->mutable_proposal());
      one->set_submit(true);
    }
    const auto status = stub->BatchCreateProposals(&context, request, &response);
    if (!status.ok()) {
      run.NoteError(status);
      return false;
    }
    for (const auto& proposal : response.proposals()) run.ids.push_back(proposal.id());
  }
  return true;
}

double Quantile(const std::vector<double>& sorted, double q) {
  return sorted.empty() ? 0 : sorted[std::min(sorted.size() - 1, static_cast<size_t>(q * sorted.size()))];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: load SCENARIO TARGET CLIENTS SECONDS [PAYLOAD_BYTES] [PREPARED]\n");
    return 2;
  }
  const std::string scenario = argv[1], target = argv[2];
  Run run;
  run.clients = atoi(argv[3]);
  run.seconds = atof(argv[4]);
  if (argc > 5) run.payload_bytes = atoi(argv[5]);
  if (argc > 6) run.prepared = atol(argv[6]);
  for (int i = 0; i < std::min(4, run.clients); i++) {
    grpc::ChannelArguments arguments;
    arguments.SetInt("plangate.bench.channel", i);  // distinct arguments keep the channels from sharing a connection
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    run.channels.push_back(grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments));
    if (!run.channels.back()->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10))) {
      fprintf(stderr, "no connection to %s\n", target.c_str());
      return 1;
    }
  }
  const bool etcd = scenario.rfind("etcd-", 0) == 0;
  size_t prepare = 0;
  if (scenario == "approve" || scenario == "etcd-approve" || scenario == "get") prepare = run.prepared ? run.prepared : 20000;
  if (scenario == "hot" || scenario == "etcd-hot") prepare = 1;
  if (prepare && !Prepare(run, prepare, etcd)) {
    fprintf(stderr, "preparing failed: %s\n", run.first_error.c_str());
    return 1;
  }

  using Operation = void (Client::*)(Done);
  Operation operation = nullptr;
  if (scenario == "echo") operation = &Client::Echo;
  if (scenario == "create") operation = &Client::Create;
  if (scenario == "batch-create") operation = &Client::BatchCreate;
  if (scenario == "approve") operation = &Client::ApproveNext;
  if (scenario == "cycle") operation = &Client::Cycle;
  if (scenario == "hot") operation = &Client::Hot;
  if (scenario == "get") operation = &Client::Get;
  if (scenario == "list") operation = &Client::List;
  if (scenario == "etcd-approve") operation = &Client::EtcdApprove;
  if (scenario == "etcd-hot") operation = &Client::EtcdHot;
  if (!operation) {
    fprintf(stderr, "no scenario %s\n", scenario.c_str());
    return 2;
  }

  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < run.clients; i++) clients.push_back(std::make_unique<Client>(&run, i));
  std::mutex mutex;
  std::condition_variable all_done;
  int running = run.clients;
  const auto start = Clock::now();
  run.end = start + std::chrono::microseconds(static_cast<long>(run.seconds * 1e6));
  std::function<void(Client*)> next = [&](Client* client) {
    const auto begun = Clock::now();
    const bool exhausted = (scenario == "approve" || scenario == "etcd-approve") && run.next_id >= run.ids.size();
    if (begun >= run.end || exhausted) {
      std::lock_guard<std::mutex> lock(mutex);
      if (--running == 0) all_done.notify_one();
      return;
    }
    (client->*operation)([&, client, begun](bool ok) {
      if (ok) client->latencies_ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - begun).count());
      next(client);
    });
  };
  for (auto& client : clients) next(client.get());
  {
    std::unique_lock<std::mutex> lock(mutex);
    all_done.wait(lock, [&] { return running == 0; });
  }
  const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
  std::vector<double> all;
  for (auto& client : clients) all.insert(all.end(), client->latencies_ms.begin(), client->latencies_ms.end());
  std::sort(all.begin(), all.end());
  const size_t operations = all.size() * (scenario == "batch-create" ? kProposalsPerBatch : 1);
  printf("{\"scenario\": \"%s\", \"clients\": %d, \"seconds\": %.3f, \"operations\": %zu, \"per_second\": %.1f, \"p50_ms\": %.3f, "
         "\"p99_ms\": %.3f, \"max_ms\": %.3f, \"conflicts\": %ld, \"errors\": %ld}\n",
         scenario.c_str(), run.clients, elapsed, operations, operations / elapsed, Quantile(all, 0.5), Quantile(all, 0.99),
         all.empty() ? 0.0 : all.back(), run.conflicts.load(), run.errors.load());
  if (run.errors) fprintf(stderr, "first error: %s\n", run.first_error.c_str());
  return run.errors ? 1 : 0;
}
