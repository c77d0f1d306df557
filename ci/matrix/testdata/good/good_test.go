package good

import (
	"os"
	"testing"
	"time"
)

func TestGood(t *testing.T) {
	if os.Getenv("WAYBILL_STRICT") != "1" || os.Getenv("CI") != "true" {
		t.Fatal("not strict")
	}
	for start := time.Now(); time.Since(start) < 20*time.Millisecond; { // its time is in the report
	}
}

func TestRole(t *testing.T) {
	if os.Getenv("WAYBILL_KERNEL_ROLE") != "oldest" {
		t.Skip("is for oldest kernels")
	}
}
