using System.Security.Cryptography;
using System.Text;
using Vmsweep.Appliance.Cli;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Tests.Hostile;
using Vmsweep.Appliance.Worker;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Results.Store;

/// <summary>What a scan tells of the executables it met.</summary>
public sealed class SeenContentTests : IDisposable
{
    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    /// <summary>Found by hash and held against what was put there, whether verdicts are remembered or not, and for files larger than what is held at once.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Executables_and_scripts_are_told_with_their_hashes_and_other_files_are_not(bool remembers)
    {
        byte[] large = [.. "#!/bin/sh\n"u8, .. Enumerable.Range(0, 9 << 20).Select(i => (byte)(i * 7 % 251))];
        byte[] program = File.ReadAllBytes(Tool.Find("true"));
        Dictionary<string, byte[]> told = new()
        {
            ["bin/true"] = program,
            ["bin/copy"] = program,
            ["bin/large"] = large,
            ["a.ps1"] = "Write-Host x"u8.ToArray(),
            ["no extension"] = "#!/usr/bin/env python3\n"u8.ToArray(),
            ["old.dat"] = "MZ this is a program for DOS"u8.ToArray(),
            ["app.jar"] = "PK"u8.ToArray(),
        };
        Dictionary<string, byte[]> others = new() { ["a.txt"] = Encoding.UTF8.GetBytes(HostileScan.Mark), ["bin/notes"] = "no program"u8.ToArray(), ["x.ps1.txt"] = "text"u8.ToArray(), ["empty.sh"] = [], ["y.jpg"] = [0xFF, 0xD8, 1] };
        foreach ((string name, byte[] content) in told.Concat(others))
        {
            string path = _scratch["files/" + name];
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllBytes(path, content);
        }

        Tool.Run("mke2fs", "-q", "-F", "-t", "ext4", "-d", _scratch["files"], _scratch["disk.raw"], "32M");
        IEnumerable<string> expected = told.Select(f => $"v1/{f.Key} {f.Value.Length} {Convert.ToHexStringLower(SHA256.HashData(f.Value))}").Order(StringComparer.Ordinal);
        Assert.Equal(expected, Seen(remembers));
        Assert.Equal(expected, Seen(remembers));
    }

    [Fact]
    public void Misshapen_ones_are_no_event()
    {
        var sound = new SeenEvent([new SeenContent(new byte[32], 5, "v1/\u202E\u001b")], 3);
        SeenEvent read = Assert.IsType<SeenEvent>(MessageText.Event(MessageText.Of(sound)));
        WorkerEvents.Check(read);
        Assert.Equal(("v1/\u202E\u001b", 5L, 3L), (read.Contents[0].Path, read.Contents[0].SizeBytes, read.LeftOut));
        foreach (SeenEvent wrong in (SeenEvent[])
        [
            new([], -1),
            new([null!], 0),
            new([new SeenContent(new byte[31], 5, "v1/x")], 0),
            new([new SeenContent(new byte[32], -5, "v1/x")], 0),
            new([new SeenContent(new byte[32], 5, "")], 0),
            new([new SeenContent(new byte[32], 5, new string('x', SeenContent.MostPath + 1))], 0),
            new([.. Enumerable.Repeat(new SeenContent(new byte[32], 5, "v1/x"), SeenEvent.MostContents + 1)], 0),
        ])
        {
            Assert.Throws<InvalidDataException>(() => WorkerEvents.Check(wrong));
        }
    }

    [Fact]
    public void Beyond_the_bound_they_are_counted()
    {
        List<SeenEvent> events = [];
        var seen = new SeenContents(events.Add);
        for (int i = 0; i < SeenContent.MostOfMachine + 5; i++)
        {
            seen.Add(i == 0 ? new string('x', 5000) : $"v1/{i}", 1, new byte[32]);
        }

        seen.Flush();
        Assert.Equal(SeenContent.MostOfMachine, events.Sum(e => e.Contents.Count));
        Assert.Equal(5, events.Sum(e => e.LeftOut));
        events.ForEach(WorkerEvents.Check);
    }

    private IEnumerable<string> Seen(bool remembers)
    {
        var recorder = new Taken();
        using var events = new StringWriter();
        ScanSettings settings = HostileScan.Settings with { MemoryBytes = 4 << 20, StateFolder = remembers ? _scratch["state"] : null };
        new ScanRun(settings, Sandbox.Probe(SandboxMode.Reduced), new InProcessWorker(), TimeProvider.System, new NdjsonListener(events), TestContext.Current.CancellationToken) { Recorder = recorder }
            .Run([.. new TargetFinder([]).Find(_scratch["disk.raw"])]);
        return recorder.Seen.Select(s => $"{s.Path} {s.SizeBytes} {Convert.ToHexStringLower(s.Sha256)}").Order(StringComparer.Ordinal);
    }

    private sealed class Taken : IResultRecorder
    {
        public List<SeenContent> Seen { get; } = [];

        public RecordedScan Record(FinishedScan scan)
        {
            // Rules are known by the names that findings have.
            Assert.NotEmpty(scan.Target.Findings);
            Assert.All(scan.Target.Findings, f => Assert.NotNull(scan.Rules!.IdOf(f.Namespace, f.Rule)));
            Assert.Null(scan.Rules!.IdOf(scan.Target.Findings[0].Namespace, "Other"));
            Seen.AddRange(scan.Target.Seen);
            return new RecordedScan(1, false, 0, 0);
        }
    }
}
