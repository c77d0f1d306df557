package suite

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2"
)

// roleVariable holds the role of the kernel in a test matrix: oldest, stable or newest.
const roleVariable = "WAYBILL_KERNEL_ROLE"

// Needs skips a spec if the kernel does not have a feature. Why says how that was found, by trying; nil means that it has
// it. A test matrix takes the skip for a failure unless its list of kernels says that this kernel lacks the feature.
func Needs(feature string, why error) {
	if why != nil {
		ginkgo.Skip(fmt.Sprintf("needs %s: %v", feature, why), 1)
	}
}

// ForRoles skips a spec if a test matrix runs on a kernel that has a role, but none of these. Outside of a matrix every
// spec runs.
func ForRoles(roles ...string) {
	if role := os.Getenv(roleVariable); role != "" && !slices.Contains(roles, role) {
		ginkgo.Skip("is for "+strings.Join(roles, " or ")+" kernels", 1)
	}
}
