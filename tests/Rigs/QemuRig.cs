using Vmsweep.Golden;

namespace Vmsweep.Rigs;

/// <summary>A QEMU without any management, with a monitor and a guest that never stops writing.</summary>
public sealed class QemuRig : IDisposable
{
    private readonly Scratch _scratch = new();
    private Daemon _qemu;

    /// <param name="isKernelPacked">As <see cref="RunningGuest.MakeBoot"/> has it.</param>
    public QemuRig(bool isKernelPacked = false)
    {
        RunningGuest.MakeBoot(Folder, isKernelPacked);
        RunningGuest.MakeDisks(Folder);
        Tool.Run("qemu-img", "convert", "-q", "-f", "qcow2", "-O", "raw", _scratch["b.qcow2"], _scratch["b.raw"]);
        _qemu = Start();
        try
        {
            Serial = Meet();
        }
        catch
        {
            _qemu.Dispose();
            throw;
        }
    }

    public string Folder => _scratch.Folder;

    public string Monitor => _scratch["qmp"];

    public GuestSerial Serial { get; private set; }

    /// <summary>The first disk, which QEMU has in qcow2; the second one is raw.</summary>
    public string FirstDisk => _scratch["a.qcow2"];

    public string SecondDisk => _scratch["b.raw"];

    public void Kill() => _qemu.Kill();

    /// <summary>Ends the process as its own monitor does: it closes its images. The guest is not asked.</summary>
    public void Quit() => _qemu.Signal("TERM");

    public void WaitUntilEnded()
    {
        if (!SpinWait.SpinUntil(() => _qemu.HasExited, TimeSpan.FromSeconds(120)))
        {
            throw new InvalidOperationException("QEMU does not end");
        }
    }

    /// <summary>The same machine anew, after its process has ended or is about to.</summary>
    public void StartAgain()
    {
        Serial.Dispose();
        WaitUntilEnded();
        _qemu.Dispose();
        File.Delete(Monitor);
        File.Delete(_scratch["serial"]);
        _qemu = Start();
        Serial = Meet();
    }

    public void Dispose()
    {
        Serial.Dispose();
        _qemu.Dispose();
        _scratch.Dispose();
    }

    private Daemon Start() => Daemon.Start(
        "qemu-system-x86_64",
        () => Daemon.Listens(Monitor) && Daemon.Listens(_scratch["serial"]),
        "-name", "bare", "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256", "-nodefaults", "-display", "none",
        "-kernel", _scratch["vmlinux"], "-initrd", _scratch["initrd"], "-append", "console=ttyS0 quiet no_timer_check panic=-1",
        "-serial", $"unix:{_scratch["serial"]},server=on,wait=off",
        "-qmp", $"unix:{Monitor},server=on,wait=off",
        "-drive", $"file={_scratch["a.qcow2"]},format=qcow2,if=none,id=first",
        "-device", "virtio-blk-pci,drive=first",
        "-blockdev", $"driver=raw,node-name=second,file.driver=file,file.filename={_scratch["b.raw"]}",
        "-device", "virtio-blk-pci,drive=second");

    private GuestSerial Meet()
    {
        var serial = new GuestSerial(_scratch["serial"]);
        serial.WaitUntilUp();
        return serial;
    }
}
