package app

import "runtime/debug"

// release is set by the linker for a release: -ldflags "-X
// github.com/logferry/logferry/app.release=v1.2.3".
var release string

// Version is the release, or the module's version, or the commit that it was
// built from, or "devel".
var Version = version()

func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}
