package suite

import (
	"errors"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
)

func TestKernels(t *testing.T) {
	t.Setenv(roleVariable, "stable")
	skips := map[string]string{}
	gomega.RegisterFailHandler(ginkgo.Fail)
	ginkgo.It("has the feature", func() { Needs("verdicts", nil) })
	ginkgo.It("lacks the feature", func() { Needs("verdicts", errors.New("there is no such function")) })
	ginkgo.It("is for this role", func() { ForRoles("oldest", "stable") })
	ginkgo.It("is for others", func() { ForRoles("oldest", "newest") })
	ginkgo.It("is run outside of a matrix", func() {
		defer t.Setenv(roleVariable, "stable")
		t.Setenv(roleVariable, "")
		ForRoles("oldest")
	})
	ginkgo.ReportAfterEach(func(r types.SpecReport) { skips[r.LeafNodeText] = r.Failure.Message })
	config, reporter := ginkgo.GinkgoConfiguration()
	reporter.Succinct = true
	ginkgo.RunSpecs(t, "kernels", config, reporter)
	// Texts that ci/report reads.
	qt.Check(t, qt.DeepEquals(skips, map[string]string{
		"has the feature":            "",
		"lacks the feature":          "needs verdicts: there is no such function",
		"is for this role":           "",
		"is for others":              "is for oldest or newest kernels",
		"is run outside of a matrix": "",
	}))
}
