// Package golden compares what a test produced with a file under the package's testdata. With the flag -update, the
// test writes the files anew; the difference is then for the reader of the commit to judge.
package golden
