using System.Runtime.InteropServices;

namespace Vmsweep.Signatures.Yara;

/// <summary>
/// The functions of Debian's libyara 4.2 (<c>libyara.so.9</c>) that are used, by the names of its headers
/// <c>yara/compiler.h</c>, <c>yara/rules.h</c>, <c>yara/scanner.h</c>.
/// </summary>
internal static unsafe partial class LibYara
{
    /// <summary>The SONAME fixes the layout of the structures in <see cref="YrLayout"/>.</summary>
    public const string Library = "libyara.so.9";

    public const int ErrorSuccess = 0;
    public const int ErrorInsufficientMemory = 1;
    public const int ErrorScanTimeout = 26;
    public const int ErrorTooManyMatches = 30;
    public const int ErrorTooManyReFibers = 46;
    public const int ErrorExecStackOverflow = 25;

    public const int ErrorLevelError = 0;

    public const int CallbackRuleMatching = 1;
    public const int CallbackTooManyMatches = 6;
    public const int CallbackContinue = 0;
    public const int CallbackAbort = 1;

    /// <summary>libyara's own SIGSEGV and SIGBUS handlers would take those signals from the .NET runtime, on every thread.</summary>
    public const int ScanNoTryCatch = 4;
    public const int ScanReportMatching = 8;

    private const int ConfigMaxMatchData = 2;

    private static readonly Lazy<string> Version = new(Start);

    /// <summary>Loads and initialises the library once. Returns its version.</summary>
    /// <exception cref="YaraException">The library is missing or is another one than this wrapper was made for.</exception>
    public static string Initialize() => Version.Value;

    /// <summary>The file that the library was loaded from, as the kernel names it; empty when it does not say.</summary>
    public static string LoadedFrom()
    {
        Initialize();
        try
        {
            string? line = File.ReadLines("/proc/self/maps").FirstOrDefault(l => l.Contains("/libyara.so.", StringComparison.Ordinal));
            return line is null ? "" : line[line.IndexOf('/', StringComparison.Ordinal)..];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }

    private static string Start()
    {
        try
        {
            Check(Initialize0(), "yr_initialize");
            // Matched bytes are never shown, and without them a scan's first allocation is 57 KiB instead of 580.
            Check(SetConfiguration(ConfigMaxMatchData, 0), "yr_set_configuration");
        }
        catch (DllNotFoundException e)
        {
            throw new YaraException($"{Library} is missing; install it with: apt-get install -y libyara9", e);
        }
        catch (EntryPointNotFoundException e)
        {
            throw new YaraException($"{Library} is not the library of YARA 4.2; install libyara9 of Debian 12", e);
        }

        YrLayout.Verify();
        return "4.2";
    }

    /// <summary>Throws for any result but success.</summary>
    public static void Check(int result, string function)
    {
        if (result != ErrorSuccess)
        {
            throw new YaraException($"{function}: {Describe(result)}");
        }
    }

    /// <summary>The name of an error in <c>yara/error.h</c>.</summary>
    public static string Describe(int result) => result switch
    {
        ErrorInsufficientMemory => "out of memory",
        6 => "not a compiled rules file",
        7 => "corrupt compiled rules",
        8 => "compiled by another version of YARA",
        ErrorExecStackOverflow => "the condition's stack overflowed",
        ErrorScanTimeout => "scan timed out",
        28 => "callback error",
        ErrorTooManyMatches => "too many matches",
        31 => "internal fatal error",
        ErrorTooManyReFibers => "regular expression needs too many fibers",
        _ => $"libyara error {result}",
    };

    [LibraryImport(Library, EntryPoint = "yr_initialize")]
    private static partial int Initialize0();

    [LibraryImport(Library, EntryPoint = "yr_set_configuration_uint32")]
    private static partial int SetConfiguration(int name, uint value);

    [LibraryImport(Library, EntryPoint = "yr_compiler_create")]
    public static partial int CompilerCreate(out nint compiler);

    [LibraryImport(Library, EntryPoint = "yr_compiler_destroy")]
    public static partial void CompilerDestroy(nint compiler);

    [LibraryImport(Library, EntryPoint = "yr_compiler_set_callback")]
    public static partial void CompilerSetCallback(nint compiler, delegate* unmanaged[Cdecl]<int, byte*, int, byte*, byte*, nint, void> callback, nint userData);

    [LibraryImport(Library, EntryPoint = "yr_compiler_set_include_callback")]
    public static partial void CompilerSetIncludeCallback(nint compiler, nint callback, nint free, nint userData);

    [LibraryImport(Library, EntryPoint = "yr_compiler_define_string_variable")]
    public static partial int CompilerDefineString(nint compiler, byte* identifier, byte* value);

    [LibraryImport(Library, EntryPoint = "yr_compiler_add_string")]
    public static partial int CompilerAddString(nint compiler, byte* rules, byte* ns);

    [LibraryImport(Library, EntryPoint = "yr_compiler_get_rules")]
    public static partial int CompilerGetRules(nint compiler, out nint rules);

    [LibraryImport(Library, EntryPoint = "yr_rules_save_stream")]
    public static partial int RulesSaveStream(nint rules, YrStream* stream);

    [LibraryImport(Library, EntryPoint = "yr_rules_load_stream")]
    public static partial int RulesLoadStream(YrStream* stream, out nint rules);

    [LibraryImport(Library, EntryPoint = "yr_rules_destroy")]
    public static partial int RulesDestroy(nint rules);

    [LibraryImport(Library, EntryPoint = "yr_scanner_create")]
    public static partial int ScannerCreate(nint rules, out nint scanner);

    [LibraryImport(Library, EntryPoint = "yr_scanner_destroy")]
    public static partial void ScannerDestroy(nint scanner);

    [LibraryImport(Library, EntryPoint = "yr_scanner_set_callback")]
    public static partial void ScannerSetCallback(nint scanner, delegate* unmanaged[Cdecl]<nint, int, byte*, nint, int> callback, nint userData);

    [LibraryImport(Library, EntryPoint = "yr_scanner_set_timeout")]
    public static partial void ScannerSetTimeout(nint scanner, int seconds);

    [LibraryImport(Library, EntryPoint = "yr_scanner_set_flags")]
    public static partial void ScannerSetFlags(nint scanner, int flags);

    [LibraryImport(Library, EntryPoint = "yr_scanner_define_string_variable")]
    public static partial int ScannerDefineString(nint scanner, byte* identifier, byte* value);

    [LibraryImport(Library, EntryPoint = "yr_scanner_scan_mem")]
    public static partial int ScannerScanMem(nint scanner, byte* buffer, nuint size);

    [LibraryImport(Library, EntryPoint = "yr_scanner_last_error_rule")]
    public static partial byte* ScannerLastErrorRule(nint scanner);
}

/// <summary><c>YR_STREAM</c> of <c>yara/stream.h</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct YrStream
{
    public nint UserData;
    public delegate* unmanaged[Cdecl]<byte*, nuint, nuint, nint, nuint> Read;
    public delegate* unmanaged[Cdecl]<byte*, nuint, nuint, nint, nuint> Write;
}

/// <summary>libyara cannot be used, or refused what it was given.</summary>
public sealed class YaraException : Exception
{
    public YaraException()
    {
    }

    public YaraException(string message)
        : base(message)
    {
    }

    public YaraException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
