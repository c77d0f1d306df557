// Package report holds what came of running suites on several kernels, and shows it: as a table, Markdown, JUnit XML, JSON
// and annotations of a pipeline.
//
// A [Report] has a [Run] for each suite on each kernel, and a run has its [Spec]s. [Read] makes the specs of a run from
// Ginkgo's JSON report and from the output of go test. What was skipped without a reason that the kernel explains, what is
// inconclusive, and a run of which no spec ran, are problems like any failure: [Report.Problems] lists them all.
package report
