package lab

import (
	"testing"

	"github.com/waybill-dev/waybill/internal/suite"
)

func TestLab(t *testing.T) {
	suite.Run(t, "lab")
}
