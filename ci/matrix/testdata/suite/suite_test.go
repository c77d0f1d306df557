package suite

import (
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func TestSuite(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "suite")
}

var _ = Describe("a network", func() {
	It("carries packets", Label("smoke"), func() {})
	It("shows the verdict", func() { Skip("needs verdicts: there is no such function") })
	It("is the answer", func() { Expect(6 * 9).To(Equal(42)) })
})
