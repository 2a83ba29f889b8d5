using Vmsweep.Golden;

namespace Vmsweep.Rigs;

/// <summary>A QEMU without any management, with a monitor and a guest that never stops writing.</summary>
public sealed class QemuRig : IDisposable
{
    private readonly Scratch _scratch = new();
    private readonly Daemon _qemu;

    public QemuRig()
    {
        RunningGuest.MakeBoot(Folder);
        RunningGuest.MakeDisks(Folder);
        Tool.Run("qemu-img", "convert", "-q", "-f", "qcow2", "-O", "raw", _scratch["b.qcow2"], _scratch["b.raw"]);
        _qemu = Daemon.Start(
            "qemu-system-x86_64",
            () => File.Exists(Monitor) && File.Exists(_scratch["serial"]),
            "-name", "bare", "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256", "-nodefaults", "-display", "none",
            "-kernel", _scratch["vmlinuz"], "-initrd", _scratch["initrd"], "-append", "console=ttyS0 quiet panic=-1",
            "-serial", $"unix:{_scratch["serial"]},server=on,wait=off",
            "-qmp", $"unix:{Monitor},server=on,wait=off",
            "-drive", $"file={_scratch["a.qcow2"]},format=qcow2,if=none,id=first",
            "-device", "virtio-blk-pci,drive=first",
            "-blockdev", $"driver=raw,node-name=second,file.driver=file,file.filename={_scratch["b.raw"]}",
            "-device", "virtio-blk-pci,drive=second");
        Serial = new GuestSerial(_scratch["serial"]);
        Serial.WaitUntilUp();
    }

    public string Folder => _scratch.Folder;

    public string Monitor => _scratch["qmp"];

    public GuestSerial Serial { get; }

    public void Kill() => _qemu.Kill();

    public void Dispose()
    {
        Serial.Dispose();
        _qemu.Dispose();
        _scratch.Dispose();
    }
}
