using System.Text;
using BenchmarkDotNet.Attributes;
using Vmsweep.Benchmarks.Measuring;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using Vmsweep.DiskReaders.Volumes.Luks;

namespace Vmsweep.Benchmarks.Readers;

/// <summary>Reading of encrypted volumes, made by QEMU. One operation is one MiB in sequence, or one block of 4 KiB at random.</summary>
[MemoryDiagnoser]
public class EncryptionBenchmarks : IDisposable
{
    private const int SequentialMiB = 256;
    private const int RandomReads = 2000;
    private const string Secret = "secret";

    private readonly byte[] _buffer = new byte[1 << 20];
    private FileSource _file = null!;
    private AssembledVolume _volume = null!;

    [Params("aes-256,cipher-mode=xts,ivgen-alg=plain64", "aes-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256")]
    public string Cipher { get; set; } = "";

    [GlobalSetup]
    public void Open()
    {
        string image = Micro.Images.Raw + "." + Cipher.Replace(',', '.');
        if (!File.Exists(image))
        {
            // QEMU fails now and then to measure its own speed.
            Measured.Script(
                "for i in $(seq 40); do qemu-img convert --object secret,id=s,data=$4 -f raw -O luks -o key-secret=s,iter-time=10,cipher-alg=$3 \"$1\" \"$2\" 2> /dev/null && exit; done; exit 1",
                [Micro.Images.Raw, image, Cipher, Secret]);
        }

        _file = new FileSource(image);
        var context = new ReadContext(new ScanBudget(1L << 30), new GapList()) { Secrets = new UnlockSecrets([Encoding.ASCII.GetBytes(Secret)]) };
        _volume = new LuksFormat().Assemble([new VolumeMember(image, _file, 512)], context).Volumes[0];
        if (_volume.Fault is { } fault)
        {
            throw fault;
        }
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _volume.Dispose();
        _file.Dispose();
        GC.SuppressFinalize(this);
    }

    [Benchmark(Description = "1 MiB in sequence", OperationsPerInvoke = SequentialMiB)]
    public void Sequential()
    {
        for (int i = 0; i < SequentialMiB; i++)
        {
            _volume.Content!.Read((long)i << 20, _buffer);
        }
    }

    [Benchmark(Description = "4 KiB at random", OperationsPerInvoke = RandomReads)]
    public void AtRandom()
    {
        var random = new Random(1);
        for (int i = 0; i < RandomReads; i++)
        {
            _volume.Content!.Read(random.NextInt64(_volume.Content.Length >> 12) << 12, _buffer.AsSpan(0, 4096));
        }
    }
}
