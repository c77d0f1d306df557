// Package suite runs the regression suites: it is the last line of each suite's test function.
package suite
