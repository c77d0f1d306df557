package examples

import (
	"strings"
	"testing"

	"github.com/waybill-dev/waybill/internal/suite"
	"github.com/waybill-dev/waybill/journey"
)

func TestExamples(t *testing.T) {
	suite.Run(t, "examples")
}

// through names the nodes that a packet came through.
func through(j *journey.Journey) string {
	var nodes []string
	for _, e := range j.Events {
		if len(nodes) == 0 || nodes[len(nodes)-1] != e.NetNS.Node {
			nodes = append(nodes, e.NetNS.Node)
		}
	}
	return strings.Join(nodes, " ")
}
