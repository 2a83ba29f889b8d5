using System.Runtime.CompilerServices;
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

    /// <summary>Loads what <see cref="Save"/> gave. Only from this product's own supervisor: libyara does not defend itself against forged rules.</summary>
    public static NativeRules Load(ReadOnlySpan<byte> bytes)
    {
        fixed (byte* start = bytes)
        {
            var given = new Given { At = start, Left = (nuint)bytes.Length };
            var native = new YrStream { UserData = (nint)(&given), Read = &Read };
            LibYara.Check(LibYara.RulesLoadStream(&native, out nint rules), "yr_rules_load_stream");
            return new NativeRules(rules);
        }
    }

    /// <summary>The name of the rule that was compiled as number <paramref name="index"/>.</summary>
    public string NameAt(int index) => YrLayout.RuleName(Table + ((long)index * YrLayout.RuleSize));

    public int IndexOf(byte* rule) => (int)((rule - Table) / YrLayout.RuleSize);

    protected override bool ReleaseHandle() => LibYara.RulesDestroy(handle) == LibYara.ErrorSuccess;

    /// <summary>Whole items only, as <c>fread</c>; libyara reads on until there are no more. Called for each of a hundred thousand addresses.</summary>
    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static nuint Read(byte* buffer, nuint size, nuint count, nint userData)
    {
        var given = (Given*)userData;
        nuint wanted = size * count;
        if (wanted > given->Left)
        {
            return 0;
        }

        Buffer.MemoryCopy(given->At, buffer, wanted, wanted);
        given->At += wanted;
        given->Left -= wanted;
        return count;
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

    private struct Given
    {
        public byte* At;
        public nuint Left;
    }

    private sealed class Pipe
    {
        public MemoryStream Written { get; init; } = new();

        public bool Failed { get; set; }
    }
}
