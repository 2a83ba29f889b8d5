package simulator

import (
	"io"
	"io/ioutil"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// stream sends a disk as a host exports it: streamOptimized, made by qemu-img.
// Half of it may come to a proper end, as if that were all.
func stream(w http.ResponseWriter, disk string, isHalf bool) {
	folder, err := ioutil.TempDir("", "export")
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	defer os.RemoveAll(folder)
	out := filepath.Join(folder, "out.vmdk")
	flat := strings.TrimSuffix(disk, ".vmdk") + "-flat.vmdk"
	if err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", flat, out).Run(); err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	file, err := os.Open(out)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	defer file.Close()
	info, _ := file.Stat()
	size := info.Size()
	if isHalf {
		size /= 2
	}
	_, _ = io.CopyN(w, file, size)
}
