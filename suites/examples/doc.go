// Package examples has a network that people build in each file, and what packets have to do in it. Each fits on a page: start
// from the one that is closest to yours.
package examples
