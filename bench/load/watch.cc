// Many watchers of the store's log while proposals are created at a steady rate: how long an event takes to each of
// them. Compiled, for the reason that load.cc is. Prints one JSON object.
//
//   watch TARGET WATCHERS SECONDS CREATES_PER_SECOND [PAYLOAD_BYTES] [MAX_EVENTS] [CREATORS]
//
// CREATES_PER_SECOND 0: CREATORS (1) clients that create as fast as they are answered. The latency of a delivery is the time it was
// received minus the event's own time, which the store takes when it begins the transaction: the commit is part of it.
// Both clocks are the machine's.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "plangate/store/v1/store_service.grpc.pb.h"

namespace store = plangate::store::v1;
using Clock = std::chrono::steady_clock;

namespace {

double NowMicros() {
  return std::chrono::duration<double, std::micro>(std::chrono::system_clock::now().time_since_epoch()).count();
}

class Watcher : public grpc::ClientReadReactor<store::WatchEventsResponse> {
 public:
  Watcher(store::EventService::Stub* stub, int max_events) {
    context_.AddMetadata("x-plangate-actor", "bob");
    request_.mutable_progress_interval()->set_seconds(600);
    request_.set_max_events(max_events);
    stub->async()->WatchEvents(&context_, &request_, this);
    StartRead(&response_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    messages++;
    const double now = NowMicros();
    if (response_.has_progress()) ready = true;
    if (response_.has_event()) Note(response_.event(), now);
    for (const auto& event : response_.events().events()) Note(event, now);
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    if (status.error_code() != grpc::StatusCode::CANCELLED) fprintf(stderr, "a watch ended: %s\n", status.error_message().c_str());
    done = true;
  }

  void Cancel() { context_.TryCancel(); }

  std::atomic<bool> ready{false}, done{false};
  std::atomic<long> messages{0}, delivered{0};
  long last_revision = 0, gaps = 0;
  std::vector<float> latencies_ms;

 private:
  void Note(const store::Event& event, double now) {
    if (last_revision && event.revision() != last_revision + 1) gaps++;
    last_revision = event.revision();
    latencies_ms.push_back(static_cast<float>((now - event.time().seconds() * 1e6 - event.time().nanos() / 1e3) / 1e3));
    delivered++;
  }

  grpc::ClientContext context_;
  store::WatchEventsRequest request_;
  store::WatchEventsResponse response_;
};

double Quantile(const std::vector<float>& sorted, double q) {
  return sorted.empty() ? 0 : sorted[std::min(sorted.size() - 1, static_cast<size_t>(q * sorted.size()))];
}

std::shared_ptr<grpc::Channel> Connect(const std::string& target, int number) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("plangate.bench.channel", number);  // distinct arguments keep the channels from sharing a connection
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  auto channel = grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10))) {
    fprintf(stderr, "no connection to %s\n", target.c_str());
    exit(1);
  }
  return channel;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: watch TARGET WATCHERS SECONDS CREATES_PER_SECOND [PAYLOAD_BYTES] [MAX_EVENTS] [CREATORS]\n");
    return 2;
  }
  const std::string target = argv[1];
  const int count = atoi(argv[2]);
  const double seconds = atof(argv[3]), rate = atof(argv[4]);
  const size_t payload_bytes = argc > 5 ? atoi(argv[5]) : 256;
  const int max_events = argc > 6 ? atoi(argv[6]) : 0, creators = argc > 7 ? atoi(argv[7]) : 1;

  std::vector<std::unique_ptr<store::EventService::Stub>> stubs;
  for (int i = 0; i < std::min(20, count); i++) stubs.push_back(store::EventService::NewStub(Connect(target, i)));
  std::vector<std::unique_ptr<Watcher>> watchers;
  for (int i = 0; i < count; i++) watchers.push_back(std::make_unique<Watcher>(stubs[i % stubs.size()].get(), max_events));
  for (auto& watcher : watchers) {
    while (!watcher->ready && !watcher->done) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }

  auto proposals = store::ProposalService::NewStub(Connect(target, 1000));
  const auto begun = Clock::now();
  std::atomic<long> created{0};
  auto create = [&] {
    while (Clock::now() - begun < std::chrono::duration<double>(seconds)) {
      if (rate > 0) {
        std::this_thread::sleep_until(begun + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(created / rate)));
      }
      grpc::ClientContext context;
      context.AddMetadata("x-plangate-actor", "admin");
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
      store::CreateProposalRequest request;
      store::Proposal response;
      request.set_submit(true);
      request.mutable_proposal()->set_action_name("restart_service");
      auto& fields = *request.mutable_proposal()->mutable_action_args()->mutable_fields();
      fields["note"].set_string_value(std::string(payload_bytes, 'x'));
      const auto status = proposals->CreateProposal(&context, request, &response);
      if (!status.ok()) {
        fprintf(stderr, "a create failed: %s\n", status.error_message().c_str());
        exit(1);
      }
      created++;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < creators; i++) threads.emplace_back(create);
  for (auto& thread : threads) thread.join();
  const double creating_seconds = std::chrono::duration<double>(Clock::now() - begun).count();
  // Whatever is on its way still arrives; then the rate is that of all deliveries until the last one.
  const auto patience = Clock::now() + std::chrono::seconds(60);
  auto delivered = [&] {
    long all = 0;
    for (auto& watcher : watchers) all += watcher->delivered;
    return all;
  };
  while (delivered() < created * count && Clock::now() < patience) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const double elapsed = std::chrono::duration<double>(Clock::now() - begun).count();
  const long all = delivered();
  for (auto& watcher : watchers) watcher->Cancel();
  for (auto& watcher : watchers) {
    while (!watcher->done) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  std::vector<float> latencies;
  long gaps = 0, messages = 0;
  for (auto& watcher : watchers) {
    latencies.insert(latencies.end(), watcher->latencies_ms.begin(), watcher->latencies_ms.end());
    gaps += watcher->gaps;
    messages += watcher->messages;
  }
  std::sort(latencies.begin(), latencies.end());
  printf("{\"watchers\": %d, \"created\": %ld, \"creates_per_second\": %.1f, \"delivered\": %ld, \"deliveries_per_second\": %.1f, "
         "\"messages\": %ld, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, \"missing\": %ld, \"gaps\": %ld}\n",
         count, created.load(), created / creating_seconds, all, all / elapsed, messages, Quantile(latencies, 0.5),
         Quantile(latencies, 0.99), latencies.empty() ? 0.0 : latencies.back(), created * count - all, gaps);
  return all == created * count && gaps == 0 ? 0 : 1;
}
