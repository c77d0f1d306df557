// Package archtest holds the repository to its layout: which package may import which, where the libraries of the kernel
// may be used, and a few rules of form. The rules are the table in rules.go; ARCHITECTURE.md says why.
//
// It reads the source files themselves, so that files of other platforms and behind build tags count too. It consists of
// a test, and of the checker that the test runs; nothing imports it.
package archtest
