// Package identity tests that a packet stays itself, whatever the kernel does to it: copies it, puts other headers or another
// buffer around it, lets it wait, or gives its memory to the next one. Each spec builds one such situation, and is made such
// that a tracker which gets it wrong would fail.
package identity
