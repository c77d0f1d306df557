// Package lab tests labs with what is meant to mix them up: equal ones side by side, and rules that change while packets pass.
package lab
