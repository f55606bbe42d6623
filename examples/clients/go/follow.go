// Run a project and follow it: what it prints goes to stdout. The daemon may be killed meanwhile.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/local"
	"google.golang.org/grpc/status"

	"pollinator.dev/follow/v1"
)

func main() {
	line, err := grpc.Dial("unix:"+os.Args[2], grpc.WithTransportCredentials(local.NewCredentials()))
	check(err)
	runs, ctx := v1.NewRunServiceClient(line), context.Background()
	source := &v1.StartRunRequest_Project{Project: &v1.ProjectSource{Root: os.Args[1]}}
	start := &v1.StartRunRequest{RequestId: uuid(), What: source}
	watch := &v1.WatchRunRequest{Output: true, Follow: true}
	told := ""
	for offsets := map[uint32]uint64{}; ; time.Sleep(200 * time.Millisecond) {
		err = follow(ctx, runs, start, watch, offsets)
		if status.Code(err) != codes.Unavailable {
			break
		} else if err.Error() != told {
			told = err.Error()
			fmt.Fprintln(os.Stderr, told)
		}
	}
	check(err)
	ended, err := runs.GetRun(ctx, &v1.GetRunRequest{RunId: watch.RunId})
	check(err)
	fmt.Fprintln(os.Stderr, ended.Run.State)
	code := int(ended.Run.GetOutcome().GetExitCode())
	if ended.Run.State != v1.RunState_RUN_STATE_SUCCEEDED && code == 0 {
		code = 1
	}
	os.Exit(code)
}

// follow prints until the run has ended or the line is cut, and notes how far it has come.
func follow(ctx context.Context, runs v1.RunServiceClient, start *v1.StartRunRequest, watch *v1.WatchRunRequest, offsets map[uint32]uint64) error {
	started, err := runs.StartRun(ctx, start) // the same run at every repeat
	if err != nil {
		return err
	}
	watch.RunId, watch.Offsets = started.Run.Id, nil
	for rank, offset := range offsets {
		watch.Offsets = append(watch.Offsets, &v1.OutputOffset{Rank: rank, Offset: offset})
	}
	messages, err := runs.WatchRun(ctx, watch)
	for err == nil {
		var message *v1.WatchRunResponse
		if message, err = messages.Recv(); err != nil {
			break
		} else if block := message.GetOutput(); block != nil {
			os.Stdout.Write(block.Data)
			offsets[block.Rank] = block.Offset + uint64(len(block.Data))
		} else if event := message.GetEvent(); event != nil {
			watch.AfterSeq = event.Seq
		}
	}
	if err == io.EOF {
		return nil
	}
	return err
}

func uuid() string {
	var id [16]byte
	_, err := rand.Read(id[:])
	check(err)
	return fmt.Sprintf("%x", id)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(70)
	}
}
