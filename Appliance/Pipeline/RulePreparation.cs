using System.Security.Cryptography;
using System.Text;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>Rules, ready for workers.</summary>
/// <param name="Rules">Null when YARA is not asked for.</param>
/// <param name="Verdicts">Null when nothing is remembered.</param>
internal sealed record PreparedRules(RuleFiles? Rules, IReadOnlyList<EngineReport> Engines, IReadOnlyList<RuleFaultReport> Faults, VerdictSession? Verdicts);

/// <summary>Compiled rules on the host.</summary>
/// <param name="Base">The compilation that holds the rest of the rules.</param>
internal sealed record RuleFiles(string Path, CompiledRules Compiled, RuleFiles? Base)
{
    /// <summary>All rules of the run.</summary>
    public RuleIndex Index() => RuleIndex.Load(new RuleFileParts(Path, Compiled.Parts));

    /// <summary>As a job has them.</summary>
    public (ScanRules Rules, IReadOnlyList<(string Host, string Inside)> Binds) For(Sandbox sandbox)
    {
        List<(string Host, string Inside)> binds = [(Path, sandbox.Inside(Path, "rules"))];
        if (Base is not null)
        {
            binds.Add((Base.Path, sandbox.Inside(Base.Path, "base-rules")));
        }

        return (new ScanRules(new RuleFileParts(binds[0].Inside, Compiled.Parts), Base is null ? null : new RuleFileParts(binds[1].Inside, Base.Compiled.Parts)), binds);
    }
}

/// <summary>
/// Compiles the rules of a run in a worker, unless an earlier run did so with the same ones; and finds out which verdicts of earlier runs
/// are of use.
/// </summary>
/// <param name="cache">Null when nothing is remembered.</param>
internal sealed class RulePreparation(ScanSettings settings, Sandbox sandbox, IWorker worker, VerdictCache? cache, WorkerLimits limits, CancellationToken cancellation)
{
    private const int MostCompiledSets = 3;

    /// <summary>More in a folder of rules is not gone through to find out whether something changed.</summary>
    private const int MostSourceFiles = 100_000;

    /// <summary>Sets of ids are part of a job, and a job is one frame.</summary>
    private const int MostIdBytes = 6 << 20;

    /// <param name="lists">Digest of the run's hash lists.</param>
    /// <exception cref="JobFailedException">The rules cannot be used.</exception>
    public PreparedRules Run(RunFolder run, byte[] lists)
    {
        if (!settings.Engines.Contains(YaraRules.EngineName))
        {
            return new PreparedRules(null, [], [], null);
        }

        List<(string Host, string Inside)> binds = sandbox.Binds(settings.RuleSources, "rules");
        byte[]? key = cache is not null ? DigestOf(binds) : null;
        CompiledRecord? record = null;
        foreach (byte[] name in key is null ? [] : (byte[][])[key, SecondName(key)])
        {
            if (cache!.Try(() => cache.Compiled.Find(name)) is not { } found || (settings.StrictRules && found.Event.Faults.Count > 0))
            {
                continue;
            }

            record = found;
            IReadOnlyList<Basis> earlier = EarlierOf(record.Event);
            if (AreAdditionsKnown(record, earlier))
            {
                return Prepared(new RuleFiles(record.Path, record.Event.Rules!, FilesOf(record.Base)), record.Event, record.Decided, earlier, binds, lists);
            }
        }

        IReadOnlyList<CompiledRecord> wholes = key is null ? [] : cache!.Try(() => cache.Compiled.Wholes(MostCompiledSets)) ?? [];
        IReadOnlyList<Basis> decided = (record ?? (wholes.Count > 0 ? wholes[0] : null))?.Event is { } compiledBefore ? EarlierOf(compiledBefore) : [];
        long bytes = wholes.Sum(w => (long)w.Event.Rules!.All.Length) + decided.Sum(d => (long)d.Rules.Length);
        if (bytes > MostIdBytes)
        {
            (wholes, decided) = ([], []);
        }

        var job = new CompileJob([.. binds.Select(b => b.Inside)], settings.WithBuiltin, settings.StrictRules)
        {
            Limits = limits,
            Compiled = [.. wholes.Select(w => w.Event.Rules!.All)],
            Decided = [.. decided.Select(d => d.Rules)],
        };
        string path = run.File("rules");
        CompiledEvent compiled = Compile(job, binds, path);
        CompiledRecord? @base = null;
        IReadOnlyList<byte[]> digests = [.. decided.Select(d => d.Digest)];
        if (compiled.Rules is not { } parts)
        {
            return new PreparedRules(null, compiled.Engines, FaultsOf(compiled, binds), null);
        }

        if (parts.Base >= wholes.Count || parts.Added.Count != decided.Count)
        {
            throw new JobFailedException("the compiled rules are not what was asked for");
        }

        @base = parts.Base >= 0 ? wholes[parts.Base] : null;
        if (key is not null && DigestOf(binds) is { } again && again.AsSpan().SequenceEqual(key))
        {
            // Sources that changed meanwhile would be remembered under the wrong name.
            byte[] name = @base is not null && @base.Key.AsSpan().SequenceEqual(key) ? SecondName(key) : key;
            cache!.Try(() =>
            {
                cache.Compiled.Add(name, path, @base, compiled, digests);
                return true;
            });
        }

        return Prepared(new RuleFiles(path, parts, FilesOf(@base)), compiled, digests, EarlierOf(compiled), binds, lists);
    }

    /// <summary>Where all rules are compiled already, but not what was added since other verdicts, only that is compiled, and needs a name beside its base.</summary>
    private static byte[] SecondName(byte[] key) => SHA256.HashData(key);

    private CompiledEvent Compile(CompileJob job, List<(string Host, string Inside)> binds, string path)
    {
        CompiledEvent? compiled = null;
        using (FileStream bundle = File.Create(path))
        {
            WorkerOutcome outcome = worker.Run(job, binds, message => compiled = message as CompiledEvent ?? compiled, bundle.Write, cancellation);
            cancellation.ThrowIfCancellationRequested();
            if (outcome.End != WorkerEnd.Done)
            {
                throw new JobFailedException(outcome.End == WorkerEnd.Failed ? outcome.Detail : $"the rules could not be compiled: {outcome.Detail}");
            }
        }

        return compiled ?? throw new JobFailedException("the rules could not be compiled: nothing came of it");
    }

    private PreparedRules Prepared(
        RuleFiles files, CompiledEvent compiled, IReadOnlyList<byte[]> decided, IReadOnlyList<Basis> earlier, List<(string Host, string Inside)> binds, byte[] lists)
    {
        VerdictSession? verdicts = null;
        if (cache is not null && ContextOf(compiled) is { } context)
        {
            HashSet<UInt128> decisive = RuleIds.Unpack(files.Compiled.Decisive);
            verdicts = VerdictSession.Begin(cache, VerdictSession.ScopeOf(settings.Scope), context, files.Compiled.Decisive, earlier, basis => AddedSince(basis, decisive, files.Compiled, decided), lists);
        }

        return new PreparedRules(files, [.. compiled.Engines.Select(e => e with { SignatureDate = NewestRule(binds) })], FaultsOf(compiled, binds), verdicts);
    }

    /// <summary>Which rules were added since; empty when none were, null when they were not compiled by themselves.</summary>
    private static DataPart? AddedSince(Basis basis, HashSet<UInt128> decisive, CompiledRules compiled, IReadOnlyList<byte[]> decided)
    {
        if (decisive.IsSubsetOf(RuleIds.Unpack(basis.Rules)))
        {
            return default(DataPart);
        }

        for (int i = 0; i < decided.Count && i < compiled.Added.Count; i++)
        {
            // Without a part the additions would be taken for none.
            if (decided[i].AsSpan().SequenceEqual(basis.Digest) && compiled.Added[i] is { IsEmpty: false } part)
            {
                return part;
            }
        }

        return null;
    }

    /// <summary>False when most verdicts could be of use, were the rules that were added since compiled by themselves.</summary>
    private static bool AreAdditionsKnown(CompiledRecord record, IReadOnlyList<Basis> earlier)
    {
        CompiledRules compiled = record.Event.Rules!;
        HashSet<UInt128> decisive = RuleIds.Unpack(compiled.Decisive);
        return earlier.Count == 0 || AddedSince(earlier[0], decisive, compiled, record.Decided) is not null
            || record.Decided.Any(d => d.AsSpan().SequenceEqual(earlier[0].Digest)) || !RuleParts.IsWorthwhile(decisive, RuleIds.Unpack(earlier[0].Rules));
    }

    private IReadOnlyList<Basis> EarlierOf(CompiledEvent compiled) => cache is not null && ContextOf(compiled) is { } context ? VerdictSession.Earlier(cache, VerdictSession.ScopeOf(settings.Scope), context) : [];

    /// <summary>
    /// What a verdict on content depends on beside the bytes and the YARA rules: this program, the engine's library, the other engines that
    /// look at content, and every limit and option that changes what matching a content gives. Time limits do not: a verdict that ran into one
    /// is not kept. Budgets and passwords for archives are such limits. Hash lists do not: they are looked up anew. Null when it is not known.
    /// </summary>
    private byte[]? ContextOf(CompiledEvent compiled)
    {
        if (compiled.Rules is null || CompiledRuleStore.DigestOfLibrary(compiled.Rules.LibraryFile) is not { } library)
        {
            return null;
        }

        string engines = string.Join('\n', compiled.Engines.Where(e => e.Name is not (YaraRules.EngineName or "hash")).Select(e => $"{e.Name}\0{e.Version}\0{e.Bundle}"));
        return SHA256.HashData([.. VerdictCache.Program, .. library, .. BitConverter.GetBytes(settings.MemoryBytes), .. SHA256.HashData(Encoding.UTF8.GetBytes(engines)), .. SHA256.HashData(Encoding.UTF8.GetBytes(settings.ArchivesText))]);
    }

    private static RuleFiles? FilesOf(CompiledRecord? record) => record is null ? null : new RuleFiles(record.Path, record.Event.Rules!, null);

    /// <summary>The date of the newest rule file; the built-in rules are as new as the program.</summary>
    private DateTimeOffset? NewestRule(List<(string Host, string Inside)> rules)
    {
        try
        {
            IEnumerable<string> files = rules.SelectMany(r => Directory.Exists(r.Host) ? RuleSources.FilesOf(r.Host) : [r.Host]);
            return files.Concat(settings.WithBuiltin ? [Sandbox.Program[^1]] : []).Where(File.Exists).Select(f => (DateTimeOffset?)File.GetLastWriteTimeUtc(f)).Max();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static List<RuleFaultReport> FaultsOf(CompiledEvent compiled, List<(string Host, string Inside)> binds) =>
        [.. compiled.Faults.Select(f => f with { File = HostNameOf(f.File, binds) })];

    /// <summary>A path inside the sandbox as the operator knows it.</summary>
    private static string HostNameOf(string inside, List<(string Host, string Inside)> binds)
    {
        (string host, string root) = binds.FirstOrDefault(b => inside == b.Inside || inside.StartsWith(b.Inside + "/", StringComparison.Ordinal));
        return host is null ? inside : host + inside[root.Length..];
    }

    /// <summary>The name of a compilation: everything that its result follows from. Null when that cannot be gone through.</summary>
    private byte[]? DigestOf(List<(string Host, string Inside)> rules)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(VerdictCache.Program);
        hash.AppendData([settings.WithBuiltin ? (byte)1 : (byte)0]);
        try
        {
            foreach ((string host, string inside) in rules)
            {
                Add($"rules\0{inside}\0");
                if (!Directory.Exists(host))
                {
                    AddFile(host);
                    continue;
                }

                // Every file, for a rule file may include one of any name.
                var all = new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = FileAttributes.None, MaxRecursionDepth = 32 };
                List<string> files = [.. Directory.EnumerateFiles(host, "*", all).Take(MostSourceFiles + 1).Order(StringComparer.Ordinal)];
                if (files.Count > MostSourceFiles)
                {
                    return null;
                }

                foreach (string file in files)
                {
                    Add($"file\0{Path.GetRelativePath(host, file)}\0");
                    AddFile(file);
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }

        return hash.GetHashAndReset();

        void Add(string text) => hash.AppendData(Encoding.UTF8.GetBytes(text));

        void AddFile(string file)
        {
            // A pipe or a device has no length, and must not be waited for.
            long length = new FileInfo(file) is { Exists: true } info ? info.Length : 0;
            Add($"{length}\0");
            if (length > 0)
            {
                using FileStream content = File.OpenRead(file);
                hash.AppendData(SHA256.HashData(content));
            }
        }
    }
}
