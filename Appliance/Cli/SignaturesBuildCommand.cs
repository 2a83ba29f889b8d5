using System.CommandLine;
using System.Globalization;
using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Pipeline;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Updates;
using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Appliance.Cli;

/// <summary>What a publisher says of a bundle.</summary>
/// <param name="Version">Null: the time, which grows by itself.</param>
internal sealed record BundleChoices(string Name, long? Version, DateTimeOffset Expires)
{
    /// <summary>Where the time is the version, it is this at the least.</summary>
    public long AtLeast { get; init; }
}

/// <summary><c>vmsweep signatures build</c>: makes a signed bundle of a folder.</summary>
internal static class SignaturesBuildCommand
{
    private const int MostKeyBytes = 64 << 10;

    public static Command Create()
    {
        var source = new Argument<string>("DIR") { Description = "A folder with rules/, hashes/, known-good/, clamav/ and allow/, as far as there are such parts; or a folder of rules." };
        var key = new Option<string>("--key") { Description = "The publisher's private key in PEM (openssl genpkey -algorithm ed25519); - reads standard input.", HelpName = "PEM|-", Required = true };
        var output = new Option<string>("--out") { Description = "The bundle to write.", HelpName = "FILE", Required = true };
        var name = new Option<string>("--name") { Description = "The name under which versions are counted.", DefaultValueFactory = _ => "local", HelpName = "NAME" };
        var version = new Option<long?>("--version") { Description = "Must grow with each bundle of a name; by default the time, as 20270131235959.", HelpName = "N" };
        var days = new Option<int>("--days") { Description = "For how long scans may rely on it.", DefaultValueFactory = _ => 90, HelpName = "N", Validators = { r => { if (r.GetValueOrDefault<int>() is < 1 or > 36500) { r.AddError("--days takes a number from 1 to 36500."); } } } };
        Option<string> format = CommonOptions.Format("text", "json");
        Option<SandboxMode?> sandbox = CommonOptions.SandboxChoice();
        var command = new Command("build", "Makes a signed bundle of a folder of rules and lists.") { source, key, output, name, version, days, format, sandbox };
        command.SetAction((parsed, cancellation) => CommandFailure.Guard(() =>
        {
            string path = parsed.GetRequiredValue(source);
            if (!Path.Exists(path))
            {
                throw new TargetException($"{path}: not found");
            }

            using SigningKey signer = SigningKey.Parse(ReadKey(parsed.GetRequiredValue(key)), parsed.GetRequiredValue(key));
            var choices = new BundleChoices(parsed.GetRequiredValue(name), parsed.GetValue(version), TimeProvider.System.GetUtcNow().AddDays(parsed.GetValue(days)));
            string file = parsed.GetRequiredValue(output);
            using var run = new RunFolder();
            (string id, BundleManifest manifest) = Build(Path.GetFullPath(path), run.File("staged"), SignaturesAddCommand.Checker(parsed.GetValue(sandbox), cancellation), choices, signer, file);
            BundleReport report = BundleReport.Of(id, manifest, new Publisher("this key", signer.Public), TimeProvider.System.GetUtcNow());
            if (parsed.GetRequiredValue(format) == "json")
            {
                SignaturesCommand.Write(new BuildReport(file, report), SignaturesJson.Default.BuildReport);
            }
            else
            {
                Console.Out.WriteLine($"{Printable.Of(file)}: {report.Title}");
                Console.Out.WriteLine(SignaturesCommand.Line(report));
            }

            return ExitStatus.Clean;
        }));
        return command;
    }

    /// <summary>Collects, checks, counts, signs and writes.</summary>
    /// <param name="staged">A folder for the while, removed by whoever gave it.</param>
    /// <param name="key">Null: it stays unsigned.</param>
    public static (string Id, BundleManifest Manifest) Build(string source, string staged, PartsChecker checker, BundleChoices choices, SigningKey? key, string output)
    {
        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        now = WholeSeconds(now);
        IReadOnlyList<BundlePart> parts = BundleBuilder.Collect(source, staged);
        parts = checker.Count(Path.Combine(staged, "parts"), parts);
        long version = choices.Version ?? Math.Max(choices.AtLeast, long.Parse(now.ToString("yyyyMMddHHmmss", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture));
        var manifest = new BundleManifest(choices.Name, version, now, WholeSeconds(choices.Expires), parts);
        string id = BundleBuilder.Seal(staged, manifest, key);

        // Beside its place and then moved: what serves bundles never shows half of one.
        string fresh = output + ".new";
        using (FileStream stream = File.Create(fresh))
        {
            BundleBuilder.Pack(staged, manifest, stream);
            stream.Flush(flushToDisk: true);
        }

        File.Move(fresh, output, overwrite: true);
        return (id, manifest);
    }

    private static DateTimeOffset WholeSeconds(DateTimeOffset time) => new(time.UtcTicks - (time.UtcTicks % TimeSpan.TicksPerSecond), TimeSpan.Zero);

    private static string ReadKey(string name)
    {
        try
        {
            using TextReader reader = name == "-" ? Console.In : File.OpenText(name);
            char[] text = new char[MostKeyBytes];
            return new string(text, 0, reader.ReadBlock(text, 0, text.Length));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new TargetException($"--key {name}: {e.Message}");
        }
    }
}
