// Package kernel provides kernels by name: it fetches Debian's packages through apt, with signatures verified and
// without touching the system's own apt state, and keeps what a VM needs of them in the user's cache folder. It needs
// no root, and a kernel that is in the cache needs no network.
package kernel
