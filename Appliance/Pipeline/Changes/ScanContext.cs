using System.Security.Cryptography;
using System.Text;
using Vmsweep.Appliance.Reports;
using Vmsweep.Appliance.Results;
using Vmsweep.Appliance.Results.Store;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Appliance.Pipeline.Changes;

/// <summary>What a scan matches with, as a digest.</summary>
internal static class ScanContext
{
    /// <summary>
    /// All that a content's report follows from beside the content and its names: this program, engines, rules, lists and limits. Null where that is not
    /// known, or follows from more.
    /// </summary>
    public static byte[]? Of(ScanSettings settings, PreparedRules prepared, PreparedEngines engines, out string why)
    {
        why = "";
        byte[] rules = [];
        if (prepared.Rules is { } files)
        {
            if (files.Compiled.AsksTime)
            {
                why = "a rule asks for the time, so that everything is matched anew";
                return null;
            }

            if (CompiledRuleStore.DigestOfLibrary(files.Compiled.LibraryFile) is not { } library)
            {
                why = "it is not known which libyara is in use";
                return null;
            }

            rules = [.. library, .. files.Compiled.All];
        }

        if (prepared.Engines.FirstOrDefault(e => e.Fault is not null || e.Bundle.Length == 0) is { } silent)
        {
            why = $"{silent.Name} does not say what it matches with, so that everything is matched anew";
            return null;
        }

        string text = string.Join('\n', prepared.Engines.Select(e => $"{e.Name}\0{e.Version}\0{e.Rules}\0{e.Bundle}").Concat(engines.KnownGoodDigests).Append($"{settings.MemoryBytes}\0{settings.IncludeDeleted}\0{settings.ArchivesText}"));
        return SHA256.HashData([.. VerdictCache.Program, .. SHA256.HashData(rules), .. Encoding.UTF8.GetBytes(text)]);
    }
}
