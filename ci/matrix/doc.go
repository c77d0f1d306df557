// Command matrix runs test packages on several kernels, each package in a VM of its own, and reports what came of it.
//
//	matrix --kernel 6.1,6.12 --bin nft ./suites/...
//
// Each package is built once and runs under every kernel, in as many VMs at once as there are CPUs, or as --jobs says. Lines
// are printed in the order of kernels and packages, however the runs end. The report folder then holds report.json,
// report.md, junit.xml, and for each kernel and package what it wrote; a table with what is wrong at its top is printed. In
// GitHub Actions problems become annotations at their lines, and the Markdown the summary of the job.
//
// The exit status is 0 if all is well, 1 if anything is wrong: a spec failed, is inconclusive or was skipped without a
// reason that the kernel's entry in the list of kernels explains, no spec ran, or the kernel got into trouble. It is 2 if
// the matrix could not run, and 128 + N if signal N ended it; then there is no report.
//
// Tests find WAYBILL_KERNEL_ROLE in their environment, the role of the kernel in the list of kernels, and WAYBILL_STRICT=1
// and CI=true, with which a skip for want of a tool or a privilege is a failure.
package main
