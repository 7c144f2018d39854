// Package bpf holds the programs that record capability checks in the kernel and
// the Go bindings that bpf2go makes of them. Everything that crosses the border
// is defined once, in record.h.
package bpf

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -tags linux -cc clang -strip llvm-strip -cflags "-O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" -target amd64,arm64 -go-package bpf -type check_key -type check_value -type container -type event -type answer -type subject -type namespace_kind -type phase -type condition -type choice -type call_kind -type counter -type event_kind -type execution_key -type execution_value -type watch_kind -type call_watch -type call_key -type call_value -type remembered -type naming -type file_key -type file_value -type file_event -type check_event -type fold -type share -type slot_key -type slot_limit -type limits -type lifted -type unasked -type inspects -type pressure -type pids -type excess -type root_map Capmon capmon.bpf.c
