// Package milestones holds every milestone to its meaning on the kernel that runs: packets that come by it are seen there,
// whatever way they take, and those that do not are not.
package milestones
