package container

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// maxGRPCMessage is the maximum size of one answer of containerd or the CRI. A container has about 20 kB.
const maxGRPCMessage = 16 << 20

// grpcBackoff are the delays before the next connection to an engine that could not be reached. An engine that answers
// again must not wait.
var grpcBackoff = backoff.Config{BaseDelay: memberRetry / 2, Multiplier: 1.5, MaxDelay: memberRetry}

// dialGRPC returns a connection to the socket with this path. Nothing need listen there.
func dialGRPC(path string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///localhost",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxGRPCMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: grpcBackoff, MinConnectTimeout: containerdTimeout}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dialSocket(ctx, path) }))
}

func dialSocket(ctx context.Context, path string) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", path)
}

// causeOf returns the error of a request to the socket with this path, with its cause if the socket cannot be reached.
// The error of gRPC has no cause.
func causeOf(ctx context.Context, path string, err error) error {
	if status.Code(err) != codes.Unavailable {
		return err
	}
	connection, dialErr := dialSocket(ctx, path)
	if dialErr != nil {
		return dialErr
	}
	return errors.Join(err, connection.Close())
}

// grpcError is an error of gRPC without the words of gRPC.
type grpcError struct{ err error }

func (e *grpcError) Error() string {
	if _, ok := status.FromError(e.err); !ok {
		return e.err.Error()
	}
	return status.Convert(e.err).Message()
}

func (e *grpcError) Unwrap() error { return e.err }
