package suite

import (
	"os"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/internal/leak"
)

// Run runs the specs of a package as one test. That there are none is a failure, and so is anything that they leave
// behind, which in a test matrix is looked for on the stable kernel. Where the kernel's functions cannot be observed, the test is skipped; it fails there if WAYBILL_STRICT is 1.
func Run(t *testing.T, name string) {
	t.Helper()
	harness.NeedFunctions(t)
	RunOnAnyTier(t, name)
}

// RunOnAnyTier is [Run] for specs that need only drops and devices to be observed.
func RunOnAnyTier(t *testing.T, name string) {
	t.Helper()
	before, err := leak.Take()
	if err != nil {
		t.Fatal(err)
	}
	gomega.RegisterFailHandler(ginkgo.Fail)
	config, reporter := ginkgo.GinkgoConfiguration()
	config.FailOnEmpty = true
	if deadline, ok := t.Deadline(); ok {
		config.Timeout = min(config.Timeout, inTime(time.Until(deadline)))
	}
	if config.PollProgressAfter == 0 {
		config.PollProgressAfter = time.Minute
	}
	ginkgo.RunSpecs(t, name, config, reporter)

	if role := os.Getenv(roleVariable); role != "" && role != "stable" {
		return // of four kernels one is enough: to close the tracker takes as long as many specs
	}
	if err := harness.Shutdown(); err != nil {
		t.Errorf("shut the harness down: %v", err)
	}
	left, err := before.Left()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range left {
		t.Errorf("the suite left behind: %s", l)
	}
}

// inTime is when a suite that may take so long is to be given up. go test ends the process when time is up, and says no more than
// what each goroutine does; Ginkgo says which spec did not end, and where it is, but needs some time: half a minute if the
// spec does not end when its context does.
func inTime(whole time.Duration) time.Duration { return whole - min(whole/2, time.Minute) }
