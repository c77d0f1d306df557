package good

import (
	"os"
	"testing"
)

func TestGood(t *testing.T) {
	if os.Getenv("WAYBILL_STRICT") != "1" || os.Getenv("CI") != "true" {
		t.Fatal("not strict")
	}
}

func TestRole(t *testing.T) {
	if os.Getenv("WAYBILL_KERNEL_ROLE") != "oldest" {
		t.Skip("is for oldest kernels")
	}
}
