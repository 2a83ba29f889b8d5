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
func stream(w http.ResponseWriter, disk string) {
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
	_, _ = io.Copy(w, file)
}
