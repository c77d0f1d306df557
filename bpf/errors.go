package bpf

import "errors"

var (
	// ErrNoFunctionProbes means that this kernel, or this user, may not attach programs to kernel functions.
	ErrNoFunctionProbes = errors.New("function probes are not available")
	// ErrNoBTF means that the kernel does not describe its types.
	ErrNoBTF = errors.New("the kernel has no BTF")
	// ErrNoFunction means that the kernel has no function of that name that could be observed.
	ErrNoFunction = errors.New("this kernel has no such function, or the compiler made it part of its callers")
	// ErrNoTracepoint means that the kernel has no tracepoint of that name.
	ErrNoTracepoint = errors.New("this kernel has no such tracepoint, or its module is not loaded")
	// ErrNotAttachable means that the kernel names the function among its types, but lets no program attach to it.
	ErrNotAttachable = errors.New("this kernel lets no program attach to it")
)
