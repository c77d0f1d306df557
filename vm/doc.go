// Package vm runs a program of this machine under another Linux kernel.
//
// [Run] packs the program, host programs that it needs, their shared libraries and the closure of the kernel modules
// asked for into an initramfs, boots it with QEMU, and returns what the program returned: its exit status, its
// standard output and standard error apart and live. Nothing is written to disk, nothing needs root, and no QEMU is
// left behind, not even when this process is killed.
//
// The guest's first process is the executable that called Run. Its main function must therefore begin with
//
//	vm.GuestMain()
//
// which returns at once unless the process is the first process of such a guest.
//
// Named kernels are the business of the package vm/kernel; this one takes a [Kernel] by its files.
package vm
