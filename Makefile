# Friendly names for the CMake presets.
.PHONY: all release check dev asan tsan fuzz tidy demo install
all: release
release:
	cmake --preset release && cmake --build --preset release
check:
	tools/check
dev asan tsan:
	cmake --workflow --preset $@
fuzz:
	cmake --workflow --preset fuzz && tools/fuzz 60
tidy: release
	tools/check-layers && tools/tidy
demo:
	tools/demo
install: release
	cmake --install build/release
