using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Loggers;
using BenchmarkDotNet.Order;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;

namespace Vmsweep.Benchmarks.Readers;

/// <summary>Runs the microbenchmarks in this process: a project of their own would be built below the repository's strict settings.</summary>
internal static class Micro
{
    private const long DiskBytes = 2L << 30;

    public const string FolderVariable = "VMSWEEP_BENCHMARK_IMAGES";

    public static void Run(string work)
    {
        Environment.SetEnvironmentVariable(FolderVariable, work);
        ManualConfig config = ManualConfig.CreateEmpty()
            .AddJob(Job.ShortRun.WithToolchain(new InProcessEmitToolchain(TimeSpan.FromMinutes(10), logOutput: false)))
            .AddLogger(ConsoleLogger.Default)
            .AddColumnProvider(DefaultColumnProviders.Instance)
            .WithOrderer(new DefaultOrderer(SummaryOrderPolicy.Declared))
            .WithArtifactsPath(Path.Combine(work, "BenchmarkDotNet.Artifacts"));
        BenchmarkRunner.Run<ContainerBenchmarks>(config);
        BenchmarkRunner.Run<FileSystemBenchmarks>(config);
        BenchmarkRunner.Run<EncryptionBenchmarks>(config);
    }

    public static ReaderImages Images => ReaderImages.Make(Environment.GetEnvironmentVariable(FolderVariable)!, DiskBytes);
}

/// <summary>Reading of virtual disks. One operation is one MiB in sequence, or one block of 4 KiB at random.</summary>
[MemoryDiagnoser]
public class ContainerBenchmarks : IDisposable
{
    private const int SequentialMiB = 256;
    private const int RandomReads = 2000;

    private readonly byte[] _buffer = new byte[1 << 20];
    private OpenDisk _disk = null!;

    [Params("raw", "VMDK monolithicSparse", "VMDK streamOptimized", "VHDX dynamic")]
    public string Container { get; set; } = "";

    [GlobalSetup]
    public void Open() => _disk = new OpenDisk(Micro.Images[Container]);

    [GlobalCleanup]
    public void Dispose()
    {
        _disk.Dispose();
        GC.SuppressFinalize(this);
    }

    [Benchmark(Description = "1 MiB in sequence", OperationsPerInvoke = SequentialMiB)]
    public void Sequential()
    {
        for (int i = 0; i < SequentialMiB; i++)
        {
            _disk.Content.Read((long)i << 20, _buffer);
        }
    }

    [Benchmark(Description = "4 KiB at random", OperationsPerInvoke = RandomReads)]
    public void AtRandom()
    {
        var random = new Random(1);
        for (int i = 0; i < RandomReads; i++)
        {
            _disk.Content.Read(random.NextInt64(_disk.Content.Length >> 12) << 12, _buffer.AsSpan(0, 4096));
        }
    }
}

/// <summary>Walks and decoders.</summary>
[MemoryDiagnoser]
public class FileSystemBenchmarks : IDisposable
{
    private readonly byte[] _buffer = new byte[1 << 20];
    private OpenDisk _ext = null!;
    private OpenDisk _compressed = null!;
    private GuestFile _packed = null!;

    [GlobalSetup]
    public void Open()
    {
        _ext = new OpenDisk(Micro.Images.Raw);
        _compressed = new OpenDisk(Micro.Images.Compressed);
        _packed = _compressed.Volume.FileSystem!.Walk().Where(f => f.Kind == GuestFileKind.Regular).MaxBy(f => f.SizeBytes)!;
        Console.WriteLine($"// ext4 with {WalkExt()} entries; LZNT1 file of {_packed.SizeBytes >> 20} MiB");
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _ext.Dispose();
        _compressed.Dispose();
        GC.SuppressFinalize(this);
    }

    [Benchmark(Description = "walk of the ext4 volume")]
    public int WalkExt() => _ext.Volume.FileSystem!.Walk().Count();

    [Benchmark(Description = "LZNT1 file of 64 MiB")]
    public void Unpack()
    {
        using IBlockSource content = _compressed.Volume.FileSystem!.OpenContent(_packed);
        for (long at = 0; at < content.Length; at += _buffer.Length)
        {
            content.Read(at, _buffer.AsSpan(0, (int)Math.Min(_buffer.Length, content.Length - at)));
        }
    }
}
