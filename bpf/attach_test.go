package bpf

import (
	"errors"
	"fmt"
	"testing"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/journey"
)

func TestAttachErrors(t *testing.T) {
	refused := attachError(request{kind: journey.Function, name: "ip_rcv"}, fmt.Errorf("create tracing link: %w", unix.EINVAL))
	qt.Check(t, qt.ErrorIs(refused, ErrNotAttachable))
	qt.Check(t, qt.ErrorMatches(refused,
		"observe ip_rcv: this kernel lets no program attach to it: create tracing link: invalid argument"))

	// That there is no memory says nothing about the function.
	other := attachError(request{kind: journey.Function, name: "ip_rcv"}, fmt.Errorf("load program: %w", unix.ENOMEM))
	qt.Check(t, qt.IsFalse(errors.Is(other, ErrNotAttachable)))
	qt.Check(t, qt.ErrorMatches(other, "observe ip_rcv: load program: cannot allocate memory"))
}
