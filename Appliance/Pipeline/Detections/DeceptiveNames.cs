using System.Text;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.Signatures.Matching;

namespace Vmsweep.Appliance.Pipeline.Detections;

/// <summary>
/// Programs whose names pretend to be documents. Extensions that honest files carry behind another one are left out: shortcuts (Windows makes
/// <c>report.docx.lnk</c> for every opened document), scripts of web sites, self-extracting archives.
/// </summary>
internal static class DeceptiveNames
{
    private static readonly HashSet<string> Programs = new(StringComparer.OrdinalIgnoreCase)
    {
        "exe", "scr", "pif", "com", "bat", "cmd", "cpl", "hta", "vbs", "vbe", "jse", "wsf", "wsh", "ps1", "msi",
    };

    private static readonly HashSet<string> Documents = new(StringComparer.OrdinalIgnoreCase)
    {
        "pdf", "doc", "docx", "docm", "xls", "xlsx", "xlsm", "ppt", "pptx", "rtf", "odt", "ods", "txt", "csv", "eml", "msg",
        "jpg", "jpeg", "png", "gif", "bmp", "tif", "tiff", "mp3", "mp4", "avi", "mov", "mkv", "wav",
    };

    // LEFT-TO-RIGHT and RIGHT-TO-LEFT embeddings, overrides and isolates.
    private static readonly System.Buffers.SearchValues<char> Turning = System.Buffers.SearchValues.Create("\u202A\u202B\u202D\u202E\u2066\u2067");

    public static void Add(GuestFile file, List<Detection> found)
    {
        bool isDouble = false;
        bool isReversed = false;
        foreach (GuestLink link in file.Links)
        {
            string name = Encoding.UTF8.GetString(link.Name);
            if (!IsProgram(name, out string rest))
            {
                continue;
            }

            if (!isDouble && IsDocument(rest))
            {
                isDouble = true;
                found.Add(BuiltinDetection.DoubleExtension.Found(name));
            }

            if (!isReversed && name.AsSpan().ContainsAny(Turning))
            {
                isReversed = true;
                found.Add(BuiltinDetection.ReversedName.Found(name));
            }
        }
    }

    /// <summary>What Windows starts by its extension; dots and blanks at the end do not count there.</summary>
    private static bool IsProgram(string name, out string rest)
    {
        string trimmed = name.TrimEnd('.', ' ');
        int dot = trimmed.LastIndexOf('.');
        rest = dot > 0 ? trimmed[..dot].TrimEnd() : "";
        return dot > 0 && Programs.Contains(trimmed[(dot + 1)..].Trim());
    }

    private static bool IsDocument(string rest)
    {
        int dot = rest.LastIndexOf('.');
        return dot > 0 && Documents.Contains(rest[(dot + 1)..]);
    }
}
