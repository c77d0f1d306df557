package plural_test

import (
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/internal/plural"
)

func TestOf(t *testing.T) {
	qt.Check(t, qt.Equals(plural.Of(0, "packet"), "0 packets"))
	qt.Check(t, qt.Equals(plural.Of(uint64(1), "packet"), "1 packet"))
	qt.Check(t, qt.Equals(plural.Of(2, "packet"), "2 packets"))
}
