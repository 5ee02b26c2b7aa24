// Requester, reviewer and executor in Java: TLS, tokens, deadlines, errors with their details, a resumed watch.
// `run` generates the stubs; docs/how-to/clients.md explains the environment.
import com.google.protobuf.Any;
import com.google.protobuf.Duration;
import com.google.protobuf.Message;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.plangate.plan.v1.Job;
import com.plangate.planner.v1.PlannerServiceGrpc;
import com.plangate.planner.v1.SubmitPlanRequest;
import com.plangate.store.v1.*;
import io.grpc.*;
import io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.AbstractBlockingStub;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.nio.file.*;
import java.util.UUID;
import java.util.concurrent.TimeUnit;

public class Client {
    static final Metadata.Key<byte[]> DETAILS =
        Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);

    static ManagedChannel channel(String target) throws Exception {
        var tls = GrpcSslContexts.forClient().trustManager(new File(System.getenv("PLANGATE_TLS_CA_FILE"))).build();
        return NettyChannelBuilder.forTarget(System.getenv(target)).sslContext(tls).build();
    }

    /** The stub with a role's token and 20 seconds for its next call. */
    static <S extends AbstractBlockingStub<S>> S as(String role, S stub) throws Exception {
        var token = Files.readString(Path.of(System.getenv("PLANGATE_CREDENTIALS"), role + ".token")).trim();
        var metadata = new Metadata();
        metadata.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
        return stub.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata))
            .withDeadlineAfter(20, TimeUnit.SECONDS);
    }

    /** A detail of a failed call: ErrorInfo always, BadRequest and RetryInfo where they fit; null if it has none. */
    static <M extends Message> M detail(StatusRuntimeException error, Class<M> kind) throws Exception {
        for (Any any : com.google.rpc.Status.parseFrom(error.getTrailers().get(DETAILS)).getDetailsList()) {
            if (any.is(kind)) return any.unpack(kind);
        }
        return null;
    }

    /** Print events from the revision on until the wanted one comes; returns the revision to resume from. */
    static long watch(EventServiceGrpc.EventServiceBlockingStub events, long revision, String wanted) throws Exception {
        var updates = as("reviewer", events)
            .watchEvents(WatchEventsRequest.newBuilder().setStartRevision(revision).build());
        while (true) {
            var update = updates.next();
            if (!update.hasEvent()) continue;
            System.out.println("event " + update.getEvent().getKind());
            if (update.getEvent().getKind().equals(wanted)) return update.getEvent().getRevision() + 1;
        }
    }

    public static void main(String[] arguments) throws Exception {
        var store = channel("PLANGATE_STORE_TARGET");
        var planner = PlannerServiceGrpc.newBlockingStub(channel("PLANGATE_PLANNER_TARGET"));
        var proposals = ProposalServiceGrpc.newBlockingStub(store);
        var events = EventServiceGrpc.newBlockingStub(store);
        var args = Struct.newBuilder().putFields("path", Value.newBuilder().setStringValue("tmp/java.txt").build());
        var job = Job.newBuilder().setActionName("delete_file").setActionArgs(args);
        // The request_id makes a repeated call return the first answer.
        var plan = as("requester", planner).submitPlan(SubmitPlanRequest.newBuilder().setObjective("Tidy up").addJobs(job)
            .setRequestId(UUID.randomUUID().toString()).build());
        System.out.println("planned " + plan.getId());
        try {
            as("requester", planner).submitPlan(SubmitPlanRequest.newBuilder().setObjective("Nothing").build());
        } catch (StatusRuntimeException error) {
            var field = detail(error, BadRequest.class).getFieldViolations(0).getField();
            System.out.println("refused " + detail(error, ErrorInfo.class).getReason() + " " + field);
        }
        long resume = watch(events, 1, "proposal.created");
        var seen = as("reviewer", proposals)
            .getProposal(GetProposalRequest.newBuilder().setId(plan.getJobs(0).getProposalId()).build());
        var yes = ApproveProposalRequest.newBuilder().setId(seen.getId()).setArgsDigest(seen.getArgsDigest());
        try {
            as("reviewer", proposals).approveProposal(yes.setExpectedVersion(7).build());
        } catch (StatusRuntimeException error) {
            var info = detail(error, ErrorInfo.class);
            System.out.println("conflict " + info.getReason() + " current " + info.getMetadataOrThrow("current_version"));
        }
        var approved = as("reviewer", proposals).approveProposal(yes.setExpectedVersion(seen.getVersion()).build());
        System.out.println("approved " + approved.getState());
        var claim = ClaimProposalsRequest.newBuilder().setPlanId(plan.getId())
            .setWaitDuration(Duration.newBuilder().setSeconds(5)).build();
        var claimed = as("executor", proposals).claimProposals(claim).getProposals(0);
        var report = CompleteProposalRequest.newBuilder().setId(claimed.getId()).setAttempt(claimed.getLease().getAttempt());
        System.out.println("executed " + as("executor", proposals).completeProposal(report.build()).getState());
        watch(events, resume, "proposal.executed");
        System.exit(0);
    }
}
