//go:build !linux

package app

// TrimStartup does nothing here.
func TrimStartup() {}
