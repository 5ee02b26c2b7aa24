// Requester, reviewer and executor in Go: TLS, tokens, deadlines, errors with their details, a resumed watch.
// `run` generates the stubs; docs/how-to/clients.md explains the environment.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	planpb "github.com/plangate/plangate/gen/go/plangate/plan/v1"
	plannerpb "github.com/plangate/plangate/gen/go/plangate/planner/v1"
	storepb "github.com/plangate/plangate/gen/go/plangate/store/v1"
	errdetails "google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatalf("%v %v", err, status.Convert(err).Details())
	}
	return value
}

// as gives a call a role's token and 20 seconds.
func as(role string) context.Context {
	token := must(os.ReadFile(os.Getenv("PLANGATE_CREDENTIALS") + "/" + role + ".token"))
	ctx, _ := context.WithTimeout(context.Background(), 20*time.Second)
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+strings.TrimSpace(string(token)))
}

// details of a failed call: ErrorInfo always, BadRequest and RetryInfo where they fit.
func details(err error) (info *errdetails.ErrorInfo, bad *errdetails.BadRequest, retry *errdetails.RetryInfo) {
	for _, detail := range status.Convert(err).Details() {
		switch found := detail.(type) {
		case *errdetails.ErrorInfo:
			info = found
		case *errdetails.BadRequest:
			bad = found
		case *errdetails.RetryInfo:
			retry = found
		}
	}
	return
}

// watch prints events from revision on until wanted comes, and returns the revision to resume from.
func watch(events storepb.EventServiceClient, revision int64, wanted string) int64 {
	stream := must(events.WatchEvents(as("reviewer"), &storepb.WatchEventsRequest{StartRevision: revision}))
	for {
		if event := must(stream.Recv()).GetEvent(); event != nil {
			fmt.Println("event", event.Kind)
			if event.Kind == wanted {
				return event.Revision + 1
			}
		}
	}
}

func main() {
	tls := grpc.WithTransportCredentials(must(credentials.NewClientTLSFromFile(os.Getenv("PLANGATE_TLS_CA_FILE"), "")))
	config := grpc.WithDefaultServiceConfig(string(must(os.ReadFile(os.Getenv("PLANGATE_PROTOS") + "/plangate/service_config.json"))))
	planner := plannerpb.NewPlannerServiceClient(must(grpc.Dial(os.Getenv("PLANGATE_PLANNER_TARGET"), tls, config)))
	store := must(grpc.Dial(os.Getenv("PLANGATE_STORE_TARGET"), tls, config))
	proposals, events := storepb.NewProposalServiceClient(store), storepb.NewEventServiceClient(store)

	args := must(structpb.NewStruct(map[string]interface{}{"path": "tmp/go.txt"}))
	job := &planpb.Job{ActionName: "delete_file", ActionArgs: args}
	// A request_id (a UUID) makes a repeated call return the first answer.
	plan := must(planner.SubmitPlan(as("requester"), &plannerpb.SubmitPlanRequest{Objective: "Tidy up", Jobs: []*planpb.Job{job}}))
	fmt.Println("planned", plan.Id)
	_, err := planner.SubmitPlan(as("requester"), &plannerpb.SubmitPlanRequest{Objective: "Nothing"})
	info, bad, _ := details(err)
	fmt.Println("refused", info.Reason, bad.FieldViolations[0].Field)

	resume := watch(events, 1, "proposal.created")
	seen := must(proposals.GetProposal(as("reviewer"), &storepb.GetProposalRequest{Id: plan.Jobs[0].ProposalId}))
	_, err = proposals.ApproveProposal(as("reviewer"), &storepb.ApproveProposalRequest{Id: seen.Id, ExpectedVersion: 7})
	info, _, _ = details(err)
	fmt.Println("conflict", info.Reason, "current", info.Metadata["current_version"])
	approved := must(proposals.ApproveProposal(as("reviewer"), &storepb.ApproveProposalRequest{Id: seen.Id, ExpectedVersion: seen.Version, ArgsDigest: seen.ArgsDigest}))
	fmt.Println("approved", approved.State)

	claim := &storepb.ClaimProposalsRequest{PlanId: plan.Id, WaitDuration: durationpb.New(5 * time.Second)}
	claimed := must(proposals.ClaimProposals(as("executor"), claim)).Proposals[0]
	done := must(proposals.CompleteProposal(as("executor"), &storepb.CompleteProposalRequest{Id: claimed.Id, Attempt: claimed.Lease.Attempt}))
	fmt.Println("executed", done.State)
	watch(events, resume, "proposal.executed")
}
