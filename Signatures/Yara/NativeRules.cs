using System.Runtime.CompilerServices;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace Vmsweep.Signatures.Yara;

/// <summary>A <c>YR_RULES</c>. Read only once made, so that scanners of many threads share it.</summary>
internal sealed unsafe class NativeRules : SafeHandle
{
    private const int RulesTableAt = 8;
    private const int NumRulesAt = 64;
    private const int NumStringsAt = 68;

    public NativeRules(nint rules)
        : base(0, ownsHandle: true) => SetHandle(rules);

    public override bool IsInvalid => handle == 0;

    /// <summary><c>num_rules</c>, private ones included.</summary>
    public int Count => (int)*(uint*)(handle + NumRulesAt);

    public int Strings => (int)*(uint*)(handle + NumStringsAt);

    private byte* Table => *(byte**)(handle + RulesTableAt);

    public NativeScanner CreateScanner() => new(this);

    /// <summary>A new <c>YR_SCANNER</c>; destroyed by its owner before these rules.</summary>
    public nint NewScanner()
    {
        LibYara.Check(LibYara.ScannerCreate(handle, out nint scanner), "yr_scanner_create");
        return scanner;
    }

    /// <summary>The compiled rules as bytes.</summary>
    public byte[] Save()
    {
        var pipe = new Pipe { Written = new MemoryStream() };
        var pin = GCHandle.Alloc(pipe);
        try
        {
            var native = new YrStream { UserData = GCHandle.ToIntPtr(pin), Write = &Write };
            int result = LibYara.RulesSaveStream(handle, &native);
            LibYara.Check(pipe.Failed ? LibYara.ErrorInsufficientMemory : result, "yr_rules_save_stream");
            return pipe.Written.ToArray();
        }
        finally
        {
            pin.Free();
        }
    }

    /// <summary>Loads the next <paramref name="length"/> bytes of a stream, which <see cref="Save"/> gave. Only from this product's own supervisor: libyara does not defend itself against forged rules.</summary>
    /// <exception cref="EndOfStreamException">There are not so many.</exception>
    public static NativeRules Load(Stream bytes, int length)
    {
        var pipe = new Pipe { Given = bytes, Left = length };
        var pin = GCHandle.Alloc(pipe);
        try
        {
            var native = new YrStream { UserData = GCHandle.ToIntPtr(pin), Read = &Read };
            int result = LibYara.RulesLoadStream(&native, out nint rules);
            pipe.Failure?.Throw();
            LibYara.Check(result, "yr_rules_load_stream");
            var loaded = new NativeRules(rules);
            if (pipe.Left > 0)
            {
                loaded.Dispose();
                throw new YaraException("compiled rules that are longer than libyara finds them");
            }

            return loaded;
        }
        finally
        {
            pin.Free();
        }
    }

    /// <summary>The name of the rule that was compiled as number <paramref name="index"/>.</summary>
    public string NameAt(int index) => YrLayout.RuleName(Table + ((long)index * YrLayout.RuleSize));

    public int IndexOf(byte* rule) => (int)((rule - Table) / YrLayout.RuleSize);

    protected override bool ReleaseHandle() => LibYara.RulesDestroy(handle) == LibYara.ErrorSuccess;

    /// <summary>Whole items only, as <c>fread</c>; libyara reads on until there are no more.</summary>
    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static nuint Read(byte* buffer, nuint size, nuint count, nint userData)
    {
        var pipe = (Pipe)GCHandle.FromIntPtr(userData).Target!;
        ulong wanted = (ulong)size * count;
        if (wanted > (ulong)pipe.Left)
        {
            return 0;
        }

        try
        {
            pipe.Given.ReadExactly(new Span<byte>(buffer, (int)wanted));
            pipe.Left -= (int)wanted;
            return count;
        }
        catch (Exception e)
        {
            // No exception may cross libyara.
            pipe.Failure = ExceptionDispatchInfo.Capture(e);
            return 0;
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static nuint Write(byte* buffer, nuint size, nuint count, nint userData)
    {
        var pipe = (Pipe)GCHandle.FromIntPtr(userData).Target!;
        try
        {
            pipe.Written.Write(new ReadOnlySpan<byte>(buffer, checked((int)(size * count))));
            return count;
        }
        catch (Exception e) when (e is OutOfMemoryException or IOException or OverflowException or NotSupportedException)
        {
            // No exception may cross libyara.
            pipe.Failed = true;
            return 0;
        }
    }

    private sealed class Pipe
    {
        public MemoryStream Written { get; init; } = new();

        public Stream Given { get; init; } = Stream.Null;

        /// <summary>Bytes of it that may still be read.</summary>
        public int Left { get; set; }

        public ExceptionDispatchInfo? Failure { get; set; }

        public bool Failed { get; set; }
    }
}
