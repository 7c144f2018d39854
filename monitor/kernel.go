package monitor

import "github.com/capmon/capmon/internal/kernel"

// KernelVersion is the version of a kernel. It has the fields Major and Minor and the methods Before and String.
type KernelVersion = kernel.Version

// ErrNoBTF means that the kernel has no usable type information (BTF).
var ErrNoBTF = kernel.ErrNoBTF

// ErrSymbolsHidden means that the kernel shows the addresses of its symbols as zero.
var ErrSymbolsHidden = kernel.ErrSymbolsHidden
