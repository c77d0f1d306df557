// Package leak tells what a piece of code left behind: open files, network namespaces, BPF programs, goroutines, and
// marks on the kernel. Suites and tests are gated on it.
package leak
